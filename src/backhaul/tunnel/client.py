"""The client's control plane: keeps the control channel and the pool, and dials targets."""

import asyncio
import logging
from collections.abc import Iterator

from backhaul.config import ClientConfig
from backhaul.errors import TransportError, retry_after, was_refused
from backhaul.net.poller import Poller
from backhaul.net.resolver import Resolver
from backhaul.state import SessionState
from backhaul.transports.client_end import Arrival, ClientTransport
from backhaul.transports.control.channel import PEER_CLOSED
from backhaul.wire.checks import Check
from backhaul.wire.signals import Signal

from .arrivals import Arrivals
from .carrier_check import CarrierCheck
from .checkups import Checkups
from .connection_pool import ConnectionPool
from .failed_attempts import FailedAttempts
from .named_log import NamedLog
from .news import News
from .pauses import TURNS, Pauses, Repeats
from .reached import Reached
from .roll import Row
from .server_watch import ServerWatch
from .standing import Standing, View
from .target_book import TargetBook
from .timings import Timings
from .whereabouts import Whereabouts

log = logging.getLogger("backhaul.client")

_STOPPED = "the server closed it to stop or to reload"
_REPLACED = "another client with the same token replaced this one (each client needs its own token)"
_RENEWED = "this client has opened another one to the same server"
_SAME_SERVER = "another tunnel of this client leads to the same server"
_FAREWELLS = {
    Signal.CLOSED: _STOPPED,
    Signal.MOVED: _STOPPED,
    Signal.REPLACED: _REPLACED,
    Signal.RENEWED: _RENEWED,
}
_SETTLE_TICK = 0.02  # seconds between looks at the idle connections while stopping
_DESCRIPTORS = 4  # each kind of dialling may take a quarter of all descriptors: users need the rest
_TURNS_TEXT = (
    "another client with the same token seems to take turns with this one, or the server restarts again and again: the "
    f"last {TURNS} control channels were closed early; give each client a server of its own or stop one of them"
)


class ClientTunnel:
    """One tunnel behind the firewall; ``run`` keeps it connected until it is cancelled."""

    def __init__(
        self,
        config: ClientConfig,
        poller: Poller,
        transport: ClientTransport,
        resolver: Resolver,
        *,
        targets: TargetBook,
        timings: Timings,
        descriptors: int,
        news: News,
        reached: Reached,
        name: str = "",
    ) -> None:
        """Prepare a tunnel; ``descriptors`` is the limit of open files.

        ``reached`` knows all tunnels of this client; ``name`` is the server's if there are several.
        """
        fair_share = descriptors // _DESCRIPTORS
        self._loop = asyncio.get_running_loop()
        self.config = config
        self._news = news
        self._reached = reached
        self._yields = False  # to another tunnel of this client
        self._log = NamedLog(log, {})
        self.name = name
        self.standing = Standing()
        self._transport = transport
        self._arrivals = Arrivals(
            poller,
            resolver,
            targets,
            transport.refuse,
            timeout=config.dial_timeout,
            keepalive=config.keepalive_period,
            transport=config.transport,
            most=fair_share,
        )
        self._arrivals.allow(config.allow_targets)
        self._checkups = Checkups(self._arrivals.reach, transport.report)
        self._pool = ConnectionPool(
            transport, config, timings, self._log, fair_share=fair_share, descriptors=descriptors
        )
        self._timings = timings
        self._watch = ServerWatch(transport, timings, self.control_lost, lambda: bool(self.name))
        self._whereabouts = Whereabouts(timings.nap, mark=config.mark, interface=config.bind_interface)
        self.fit = CarrierCheck(self._log)  # fed by the transport
        self._pauses = Pauses()
        self._failures = FailedAttempts(timings.changeover)
        self._turns = Repeats()
        self._lost: asyncio.Future[str] | None = None
        self._channel_open = False
        self.peer = ""  # the server's address while connected
        self.opened = 0  # control channels so far
        self.targets = targets

    @property
    def connected(self) -> bool:
        """True if the server is connected and users can be carried, as far as this end knows."""
        return self._channel_open and not self._obstacle

    @property
    def extended(self) -> bool:
        """True while a server is connected that runs this program."""
        return self._channel_open and self._transport.protected

    @property
    def problem(self) -> str:
        """The reason why no user can be carried, as far as this end knows; empty if there is none."""
        return _SAME_SERVER if self._yields else self._obstacle

    @property
    def _obstacle(self) -> str:
        """The reason why the server's users can't be carried."""
        return self.fit.problem or self._pool.problem

    @property
    def name(self) -> str:
        """The server's name in the log, and for the choice among several; empty if there is one."""
        return self._log.server

    @name.setter
    def name(self, name: str) -> None:
        self._log.server = name

    @property
    def view(self) -> View:
        """The standing of the server."""
        return self.standing.view(connected=self.connected)

    def dialled_for(self) -> Iterator[Row]:
        """Return the users whose targets are being dialled."""
        return self._arrivals.dialled_for()

    @property
    def transport(self) -> ClientTransport:
        """The transport that carries the users."""
        return self._transport

    @property
    def pool_size(self) -> int:
        """The number of idle tunnel connections to keep now."""
        return self._pool.demand.size

    @property
    def dialling(self) -> int:
        """The number of targets being dialled."""
        return self._arrivals.dialling

    @property
    def busy(self) -> bool:
        """True if, after ``stop``, users have no target yet or may still arrive."""
        return bool(self._arrivals.dialling or self._transport.leaving)

    def session(self) -> SessionState:
        """Return the state of the control channel and of the idle tunnel connections."""
        return SessionState(
            connected=self.connected,
            peer=self.peer,
            problem=self.problem,
            opened=self.opened,
            rtt=0,  # the server measures it
            idle=self._transport.idle,
        )

    def adopt(self, config: ClientConfig) -> None:
        """Use another configuration that needs no new control channel."""
        self.config = config
        self._arrivals.allow(config.allow_targets)
        self._pool.adopt(config)

    async def run(self) -> None:
        """Connect, keep the pool filled, and connect again whenever the control channel is lost."""
        self._transport.start(self)
        while True:
            try:
                pause = await self._once()
            except Exception as error:  # noqa: BLE001 - the tunnel must not end
                self._failures.crashed(error)
                pause = self._pauses.failed(self.config.retry_interval)
            if self._transport.urgent:
                pause = self._pauses.at_most(pause, self._timings.urgent)
            await asyncio.sleep(pause)

    def stop(self, farewell: Signal) -> None:
        """Tell the server to send no more users; those on their way still arrive.

        ``farewell`` is CLOSED if this process ends, otherwise MOVED.
        """
        self._transport.send(farewell if self._transport.protected else Signal.CLOSED)
        self._checkups.close()
        self._channel_open = False
        self._pool.clear()
        self._transport.disconnect()

    async def settled(self, patience: float) -> None:
        """Wait until the server has closed its idle connections, at most ``patience`` seconds."""
        end = self._loop.time() + patience
        while self._transport.leaving and self._loop.time() < end:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_SETTLE_TICK)

    def close_idle(self) -> None:
        """Close the remaining idle connections; targets of arrived users are still dialled."""
        self._transport.close()

    def close(self) -> None:
        """Close the remaining idle connections, and stop dialling."""
        self.close_idle()
        self._arrivals.close()

    def signal_received(self, signal: Signal, count: int = 1) -> None:
        """Act on a signal of the server, which may request ``count`` connections."""
        self._watch.heard()
        if signal == Signal.CHANNEL:
            self._pool.requested(count)
        elif signal == Signal.HEARTBEAT:
            self._watch.beat()
        elif signal == Signal.UNREACHED:
            self.fit.unreached()
        elif signal == Signal.REACHED:
            self.fit.proved()
        elif why := _FAREWELLS.get(signal):
            self.control_lost(why)

    def tunnel_opened(self) -> None:
        """Note that a tunnel connection was opened."""
        self._pool.opened()

    def tunnel_failed(self, error: Exception) -> None:
        """Note that a tunnel connection could not be opened."""
        self._pool.failed(error)
        if was_refused(error):
            self.disowned()
        else:
            self.doubt()

    def check_requested(self, check: Check) -> None:
        """Check the health of a target, as the server wants it."""
        self._checkups.requested(check)

    def control_lost(self, reason: str) -> None:
        """Let ``run`` dial again; users in flight stay."""
        if self._lost and not self._lost.done():
            self._lost.set_result(reason)

    def doubt(self) -> None:
        """Ask for a sign of life, because the line may be dead, and give the server up soon without one."""
        if self._channel_open:
            self._transport.announce()
            self._watch.doubt()

    def disowned(self) -> None:
        """Do the same at once: the server may know the control channel no more, because it refused a connection."""
        self.doubt()
        if self._channel_open:
            self._watch.disowned()

    def arrived(self, arrival: Arrival) -> None:
        """Dial the target of a user, and join both."""
        self.fit.proved()
        self._pool.arrived()
        self._watch.user_came()
        self._arrivals.arrived(arrival)

    def expect_change(self) -> None:
        """Expect some failed attempts: an end was stopped or reloaded, and the other one may follow."""
        self._failures.excuse(self._loop.time())

    async def _once(self) -> float:
        """Connect and keep the control channel until it is lost; return the seconds to wait before the next one."""
        remote = self.name or self.config.remote_addr
        self._lost = self._loop.create_future()
        try:
            peer = await self._transport.connect()
        except (OSError, TransportError) as error:
            self._failures.add(str(remote), error, self._loop.time())
            self.standing.failed()
            return self._pauses.failed(self.config.retry_interval, retry_after(error))
        log.info("connected to %s (%s), transport %s", remote, peer, self.config.transport)
        protected, server, begun = self._transport.protected, self._transport.server.instance, self._loop.time()
        self._channel_opened(peer, begun)
        try:
            with self._reached.by_channel(server):
                why = await self._keep(self._lost)
        finally:
            self._channel_closed()
        self._news.lost(why, server=self.name)
        self._failures.forget()
        lasted = self._loop.time() - begun
        if why == _RENEWED:
            await self._yield_to_another(server)
        else:
            self._log.warning("control channel lost: %s; reconnecting, users in flight stay", why)
        return self._pause(lasted, why, protected=protected)

    def _channel_opened(self, peer: str, now: float) -> None:
        self._news.connected(peer, server=self.name)
        self.fit.begin()
        self._pool.begin()
        if self._transport.protected:
            self.fit.agreed()
        self.fit.seen()
        self._channel_open = True
        self.peer = peer
        self.opened += 1
        self.standing.connected(now)

    def _channel_closed(self) -> None:
        self._channel_open = False
        self.peer = ""
        self._watch.end()
        self._checkups.close()
        self._pool.clear()
        self._transport.disconnect()
        self.standing.lost(self._loop.time())

    async def _yield_to_another(self, server: bytes) -> None:
        """Wait while another tunnel of this client leads to the same server, which keeps the last one only."""
        self._log.warning("control channel closed: %s; this one waits until that one is lost", _RENEWED)
        self._yields = True
        try:
            await self._reached.lost(server)
        finally:
            self._yields = False

    async def _keep(self, lost: asyncio.Future[str]) -> str:
        """Fill and watch the pool until the control channel is lost; return the reason."""
        self._watch.begin()
        self._whereabouts.begin(self.peer)
        while not lost.done():
            self._tick()
            await asyncio.wait([lost], timeout=self._timings.look)
        return lost.result()

    def _tick(self) -> None:
        self._pool.fill()
        if self._whereabouts.changed():  # the clock of this loop may not have counted the silence
            self.doubt()
        self._watch.look()

    def _pause(self, lasted: float, why: str, *, protected: bool) -> float:
        """Return the seconds to wait. A protected server tells why it has closed the channel, others leave a guess."""
        if why == _STOPPED:
            self.expect_change()
            return self._pauses.stopped(self.config.retry_interval, lasted)
        guess = why.startswith(PEER_CLOSED) and not protected and not self.problem
        closed = guess or why in {_REPLACED, _RENEWED}
        pause = self._pauses.lost(self.config.retry_interval, lasted, closed=closed)
        if not (guess and self._pauses.taking_turns):
            self._turns.forget()
        elif text := self._turns.worded(_TURNS_TEXT):
            self._log.warning("%s", text)
        return pause
