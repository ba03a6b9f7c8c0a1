"""The public end's control plane: accepts users, lets them wait for a carrier, and passes them to the transport."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from backhaul.config import ServerConfig
from backhaul.config.kinds import kinds_of
from backhaul.net.listeners import Listeners
from backhaul.net.log_throttle import LogThrottle
from backhaul.state import ServedState, SessionState
from backhaul.transports.public_end import ServerTransport
from backhaul.transports.reasons import RENEWED
from backhaul.transports.session import ClientSession, protection_of
from backhaul.transports.settings import CarrierLimits
from backhaul.wire.checks import Check, Health
from backhaul.wire.signals import Signal

from .absence import Absence
from .carrier_check import CarrierCheck
from .entrance import Entrance
from .health_board import HealthBoard
from .heart import Heart
from .limiting import Limiting
from .news import News
from .outcomes import Outcomes, Report
from .places import Places
from .ports import Ports
from .ports_setup import user_options
from .timings import Timings
from .udp_ports import FlowDispatcher
from .unix_targets import warn_of_paths
from .user_dispatcher import UserDispatcher

if TYPE_CHECKING:
    from .resources import TunnelResources

log = logging.getLogger("backhaul.server")

_STUCK_FOR = 10.0  # seconds until another user tries it, if no carrier comes before
_LAST_LOOKS = 0.02  # seconds between checks whether the last users have carriers


class ServerTunnel:
    """The tunnel of one client on the public end; owns its ports and the waiting users."""

    def __init__(
        self,
        config: ServerConfig,
        relay: "TunnelResources",
        transport: ServerTransport,
        timings: Timings,
        listeners: Listeners,
        *,
        places: Places,
        limiting: Limiting,
        news: News,
        unreachable: Callable[[], str],
    ) -> None:
        """``unreachable`` returns the reason why no client at all can connect; otherwise an empty text."""
        self._news = news
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self.config = config
        self._transport = transport
        self._timings = timings
        self.absence = Absence(self._absence_lasts)
        self._throttle = LogThrottle(log)
        self._heart = Heart(self._beat)
        self.opened = 0  # control channels so far
        self.watchers: list[Callable[[ServerTunnel], None]] = []
        """Called whenever the client may have begun or ceased to get users."""
        self.health = HealthBoard(self._ask_for_check, self._loop)
        self._stuck: asyncio.TimerHandle | None = None
        self._unreachable = unreachable
        self._whose = f" of client {places.client}" if places.client else ""
        self.fit = CarrierCheck(log, timings, whose=self._whose, changed=self._fit_changed)  # fed by the transport
        self._resumption = relay.resumption
        self.places = places
        places.freed = self._changed
        self.client = places.client
        """The name of the client; empty for the one without a table of its own."""
        self._outcomes = Outcomes(
            log, timings.answer, self.fit.answered, config.transport, limiting=limiting, places=places
        )
        self.users = UserDispatcher(
            relay, transport, self._outcomes, config, limiting=limiting, places=places, news=news, timings=timings
        )
        self.flows = FlowDispatcher(
            relay,
            transport,
            listeners,
            self._outcomes,
            limiting=limiting,
            places=places,
            news=news,
            most_waiting=config.channel_size,
            timings=timings,
        )
        self.ports = Ports(
            relay.poller,
            listeners,
            user_options(config),
            self.users.accept,
            self.flows.listen,
            served=kinds_of(config),
            timings=timings,
            news=news,
        )
        self.entrance = Entrance(self.ports, self.flows, self._is_offline, self._whose, self._changed)

    @property
    def connected(self) -> bool:
        """True if a client is connected and users can be carried, as far as this end knows."""
        return self._transport.session.connected and not self.fit.problem

    @property
    def ready(self) -> bool:
        """True if the client may get users of a group."""
        return self.connected and not self.entrance.draining

    @property
    def stuck(self) -> bool:
        """True after a user has waited for a carrier in vain, until there is another one, or for a while."""
        return self._stuck is not None

    @property
    def makes_checks(self) -> bool:
        """True if the connected client makes health checks; v0.7.2 makes none."""
        return self._transport.session.keys is not None

    @property
    def problem(self) -> str:
        """The reason why no client can connect or no user can be carried, as far as this end knows, or empty."""
        return self._unreachable() or self.fit.problem

    @property
    def useful(self) -> bool:
        """True if a client is connected, or expected to return."""
        return self._transport.session.connected or self.users.waiting.client_will_come

    @property
    def busy(self) -> bool:
        """True if a user arrived, or a flow was used, a moment ago."""
        last = max(self._outcomes.last_user, self.flows.relay.flows.last_used)
        return self._loop.time() - last < self._timings.quiet

    @property
    def offline(self) -> bool:
        """True while users are refused because no client is connected, or the tunnel is drained."""
        return self.ports.refusing

    @property
    def waiting(self) -> int:
        """The number of TCP and UDP users without a carrier."""
        return len(self.users.waiting) + self.flows.waiting

    @property
    def transport(self) -> ServerTransport:
        """The transport that carries the users."""
        return self._transport

    def report_to(self, report: Report | None) -> None:
        """Call ``report`` at the end of each user; None ends that."""
        self._outcomes.report = report

    def session(self) -> SessionState:
        """Return the state of the control channel and of the idle tunnel connections."""
        return SessionState(
            connected=self.connected,
            peer=self._transport.session.peer.address,
            problem=self.problem,
            opened=self.opened,
            rtt=self._transport.session.rtt,
            idle=self._transport.idle,
        )

    def state(self) -> ServedState:
        """Return the state of this tunnel."""
        return ServedState(
            name=self.client,
            session=self.session(),
            waiting=self.waiting,
            unanswered=self._outcomes.unanswered,
            draining=self.entrance.draining,
            refusing=self.offline,
            users=self.places.users,
            ports=tuple(port.state() for port in self.ports.all.values()),
        )

    def adopt(self, config: ServerConfig, limits: CarrierLimits) -> None:
        """Use another configuration, for which all ports have made way.

        ``rebuild`` has handled changes that need a new control channel.
        """
        before, self.config = self.config, config
        self.users.adopt(config)
        self._transport.apply(limits)
        self.flows.set_most_waiting(config.channel_size)
        self.ports.set_options(user_options(config))
        self.entrance.apply()
        session = self._transport.session
        if session.connected and not session.peer.extended and before.ports != config.ports:
            warn_of_paths(config.ports)
        if self._heart.beating and before.heartbeat != config.heartbeat:
            self._heart.start(config.heartbeat, regular=not session.peer.extended)
        self.ports.widen()
        if config.facts.datagrams:
            self.users.reset_all()

    def detach(self) -> None:
        """Close control channel and pool, to be replaced; ports, waiting users, users in flight and sessions stay."""
        session = self._transport.session
        session.send(Signal.MOVED if session.keys else Signal.CLOSED)
        self._transport.stop_listening()
        self._heart.stop()
        self.fit.end()
        self._client_restarts()
        self.absence.sessions_stay = True
        self._changed()

    def attach(self, transport: ServerTransport, name: str) -> None:
        """Use another transport, which has this name and has started."""
        self._transport = self.users.transport = self.flows.transport = transport
        self._outcomes.transport = name

    def renew(self) -> None:
        """Make the client connect again, because its tokens have changed; users in flight stay."""
        self.detach()
        self._transport.start(self)

    def join(self) -> None:
        """Wait for the client and for users, after all others have begun."""
        self._transport.start(self)
        self.start()

    def start(self) -> None:
        """Listen for users."""
        self.ports.add(self.config.ports)
        if self._listeners.succeeding:
            self._client_restarts()  # it has lost the previous process and reconnects
        else:
            self.absence.begin(self._timings.absence)

    async def hand_over(self) -> None:
        """Leave future users to the process that shares the ports, and carry the present ones.

        The client stays connected until then, because its connections for them must arrive here.
        """
        self.ports.close_datagrams()
        await asyncio.sleep(self._timings.handshakes)
        self.ports.finish()
        end = self._loop.time() + self._timings.user_patience
        while len(self.users.waiting) and self._loop.time() < end:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LAST_LOOKS)

    def stop_listening(self) -> None:
        """Accept no more users and tell the client; users in flight stay."""
        self.ports.close()
        self.absence.end()
        self._go_on()
        self.users.drop_all()
        self._heart.stop()
        self._resumption.leave_peer(self.client)
        self._transport.session.send(Signal.CLOSED)
        self._transport.stop_listening()

    def client_connected(self, session: ClientSession) -> None:
        """Admit users and start the heartbeat for a new client, and announce the waiting users."""
        self.fit.begin()
        self.absence.end()
        self.users.waiting.restart_is_over()
        self.entrance.apply()  # before the log says so
        log.info("client %s connected, transport %s%s", session.peer, self.config.transport, protection_of(session))
        if session.keys:
            self.fit.agreed()
        self.opened += 1
        self._news.connected(session.peer.address, session.peer.name)
        self._outcomes.client_name = session.peer.name
        self._outcomes.client = session.peer.name or session.peer.address
        self._heart.start(self.config.heartbeat, regular=not session.peer.extended)
        if not session.peer.extended:
            warn_of_paths(self.config.ports)
        self._go_on()
        self.users.client_came()
        self.flows.client_came()
        self.health.client_came()
        self._changed()

    def client_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Wait for the return of a lost client; users in flight stay, new ones wait a moment."""
        self._heart.stop()
        self.fit.end()
        if goodbye:
            self._client_restarts()
        else:
            self.absence.begin(self._timings.absence)
        if reason == RENEWED:  # a reload of the client, or a line that it took for dead
            log.info("control channel%s replaced: %s", self._whose, reason)
        else:
            log.warning("control channel%s lost: %s; waiting for the client to reconnect", self._whose, reason)
        self._news.lost(reason, self.client)
        self._changed()

    def target_refused(self, target: str, reason: str) -> None:
        """Log a target that the client does not dial."""
        self._throttle.warn(
            ("refused", target),
            f"target {target}: not dialled by the client{self._whose.removeprefix(' of client')}: {reason}",
        )

    def _ask_for_check(self, check: Check) -> None:
        self._transport.session.check(check)

    def health_reported(self, health: Health) -> None:
        """Pass on the outcome of a health check."""
        self.health.reported(health)

    def carrier_ready(self) -> None:
        """Carry waiting users, oldest first, TCP users before flows."""
        self.users.carrier_ready()
        self.flows.carrier_ready()
        self._go_on()

    def get_stuck(self) -> None:
        """Get no users of groups for a while, because one of them has waited for a carrier in vain."""
        if self._stuck:
            self._stuck.cancel()
        self._stuck = self._loop.call_later(_STUCK_FOR, self._go_on)
        self._changed()

    def _go_on(self) -> None:
        if self._stuck:
            self._stuck.cancel()
            self._stuck = None
            self._changed()

    def _client_restarts(self) -> None:
        self.absence.begin(self._timings.restart)
        self.users.waiting.client_restarts()

    def _absence_lasts(self) -> None:
        self.users.waiting.restart_is_over()
        self.entrance.apply()
        self._changed()

    def _fit_changed(self) -> None:
        """Tell a client that understands it whether its tunnel connections arrive: it can't know."""
        session = self._transport.session
        if session.keys:
            session.send(Signal.UNREACHED if self.fit.problem else Signal.REACHED)
        self._changed()

    def _changed(self) -> None:
        for watcher in self.watchers:
            watcher(self)

    def _is_offline(self) -> bool:
        return self.absence.long and self.config.offline == "refuse"

    def _beat(self) -> None:
        self._transport.beat()
