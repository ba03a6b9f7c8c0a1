"""The end behind the firewall, assembled."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Final

from backhaul.net.bridge import Bridges
from backhaul.net.descriptors import for_users
from backhaul.net.pollers import make_poller
from backhaul.net.resolver import LookUp, Resolver, look_up
from backhaul.net.services import ServiceLookUp, Services, look_up_service
from backhaul.relay.patience import DEFAULT_PATIENCE, Patience
from backhaul.selection import Selection
from backhaul.state import ClientState, MovedState, SessionState, UserState, UserTimesState
from backhaul.transports.auth import ForgetfulMemory, KnownServers
from backhaul.transports.registry import make_client
from backhaul.tunnel.client import ClientTunnel
from backhaul.tunnel.client_roll import client_roll
from backhaul.tunnel.destinations import Destinations, together
from backhaul.tunnel.listing import NameResolvers
from backhaul.tunnel.news import News
from backhaul.tunnel.reached import Reached
from backhaul.tunnel.target_book import TargetBook
from backhaul.tunnel.timings import DEFAULT_TIMINGS, Timings
from backhaul.wire.signals import Signal

from .assembly import change_relay, client_settings, make_relay
from .config import ClientConfig
from .errors import BackhaulError

log = logging.getLogger("backhaul.client")

_INSTANCE: Final = 16  # bytes: no two clients have the same
_LOOK_EVERY: Final = 0.02  # seconds, at the stop


class Client:
    """A running client; call ``start`` and ``stop`` once each, in a running event loop."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        names: LookUp = look_up,
        services: ServiceLookUp = look_up_service,
        known: KnownServers | None = None,
        descriptors: Callable[[], int] = for_users,
        timings: Timings = DEFAULT_TIMINGS,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Prepare a client; ``names`` and ``services`` look names up, are called in threads and may block."""
        self.config = config
        self.news = News()
        self._poller = make_poller()
        self.relay = make_relay(self._poller, config, patience)
        # The server's name has its own resolver, so that look-ups of targets that hang delay no reconnect. It does not
        # trust old answers, which would hide that the server has moved.
        self._server_names = NameResolvers(Resolver(lookup=names, trust=0), Services(lookup=services, trust=0))
        self._target_names = Resolver(lookup=names)
        self._bridges = Bridges()
        self._targets = TargetBook()
        self._reached = Reached()
        self._known = known or ForgetfulMemory()
        self._instance = secrets.token_bytes(_INSTANCE)
        self._descriptors = descriptors
        self._timings = timings
        self._left: list[ClientTunnel] = []  # whose targets may still be dialled
        self._servers = Destinations(config, self, self._server_names, timings)
        self._roll = client_roll(self.relay.live, self.relay.flows, self._tunnels)
        self._changing = asyncio.Lock()  # a reload, a drain and its end, each of which takes several turns of the loop
        self.stopping = False
        self.draining = False

    @property
    def tunnel(self) -> ClientTunnel:
        """The tunnel to the first server."""
        return next(self._servers.first.tunnels())

    async def start(self) -> None:
        """Begin to connect; an unreachable server is retried and no error."""
        self._servers.start()

    async def drain(self, client: str = "") -> None:
        """Leave all servers until ``resume``, so that they send no new users; present ones stay.

        Raises BackhaulError if a ``client`` is named.
        """
        _serves_none(client)
        if not self.draining:
            self.draining = True
            log.info("draining: disconnected, users in flight stay; `backhaul resume` ends that")
            async with self._changing:
                await self._servers.stop()

    async def resume(self, client: str = "") -> None:
        """Connect again; raise BackhaulError if a ``client`` is named."""
        _serves_none(client)
        if self.draining:
            self.draining = False
            log.info("no longer draining: connecting")
            async with self._changing:
                if not self.stopping:
                    await self.start()

    async def stop(self) -> None:
        """End cleanly: tell the servers, and give users in flight ``shutdown_timeout`` seconds."""
        self.stopping = True
        await self._servers.stop(Signal.CLOSED)
        self.relay.resumption.leave_peer("")  # servers have no names
        settle = min(self._timings.settle, self.config.shutdown_timeout)
        await asyncio.gather(self._flows_settled(settle), *(tunnel.settled(settle) for tunnel in self._tunnels()))
        await self.relay.drained(self.config.shutdown_timeout)
        await self.end()

    async def _flows_settled(self, patience: float) -> None:
        """Let datagrams on their way arrive, for ``patience`` seconds, if a flow was used in as many before."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while self.relay.flows.last_used > loop.time() - patience and loop.time() < end:  # noqa: ASYNC110 - once
            await asyncio.sleep(_LOOK_EVERY)

    async def end(self) -> None:
        """Reset users in flight, and give the other ends of all connections a moment to read the last bytes.

        A stop that a second signal has interrupted may not have left the servers yet.
        """
        await self._servers.stop(Signal.CLOSED)
        for tunnel in self._tunnels():
            tunnel.close()
        for names in self._server_names:
            names.close()
        self._target_names.close()
        self.relay.close()
        await self._poller.lingering.finish(self._timings.last_bytes)
        self._bridges.close()
        self._poller.close()

    def session(self) -> SessionState:
        """Return the state of the tunnels only, which is cheap."""
        return together([one.session for one in self._servers.states()])

    def moved(self) -> MovedState:
        """Return the bytes of all users, which is cheap."""
        return self._targets.moved()

    async def survey(self) -> ClientState:
        """Return the state of this end; a server pauses here."""
        return self.state()

    def state(self) -> ClientState:
        """Return the state of this end."""
        servers, tunnels = tuple(self._servers.states()), list(self._tunnels())
        return ClientState(
            transport=self.config.transport,
            stopping=self.stopping,
            draining=self.draining,
            session=together([one.session for one in servers]),
            relay=self.relay.state(),
            pool_size=self._servers.pool_size,
            dialling=sum(tunnel.dialling for tunnel in tunnels),
            allow_targets=self.config.allow_targets,
            targets=self._targets.states(),
            servers=servers,
            others=self._targets.others.state(),
        )

    def users(self) -> Iterator[UserState]:
        """Return the states of all users in flight, each made when it is asked for; pauses in between do no harm."""
        return self._roll.users()

    def user_times(self) -> Iterator[UserTimesState]:
        """Return nothing: the server times the users of both ends."""
        return iter(())

    def close_users(self, selection: Selection) -> Iterator[bool]:
        """Reset the chosen users, one by one; yield for each user whether it was chosen."""
        return self._roll.close(selection)

    async def reconfigure(self, new: ClientConfig) -> None:
        """Use another configuration; users in flight stay, and servers that are the same in both notice nothing.

        Raises BackhaulError if the new configuration is unusable; the old one stays in force then.
        """
        old, self.config = self.config, new
        try:
            async with self._changing:
                await self._servers.adopt(new)
        except BackhaulError:
            self.config = old
            raise
        change_relay(self.relay, new)

    def make(self, config: ClientConfig, host: str = "", name: str = "") -> ClientTunnel:
        """Return a tunnel to ``host``, or to that of the configuration. Raises BackhaulError."""
        settings = client_settings(
            config, host, instance=self._instance, known=self._known, bridges=self._bridges, timings=self._timings
        )
        return ClientTunnel(
            config,
            self._poller,
            make_client(config.transport, settings, self.relay, self._server_names.hosts),
            self._target_names,
            targets=self._targets,
            timings=self._timings,
            descriptors=self._descriptors() // len(self.config.doors),
            news=self.news,
            reached=self._reached,
            name=name,
        )

    def retire(self, tunnel: ClientTunnel) -> None:
        """Keep a tunnel that stops as long as users may still arrive; later calls do nothing."""
        if tunnel not in self._left:
            asyncio.get_running_loop().call_later(self._timings.leave, tunnel.close_idle)
            self._left = [*(left for left in self._left if left.busy), tunnel]

    def changed(self) -> None:
        """Choose among the servers again."""
        self._servers.changed()

    def _tunnels(self) -> Iterator[ClientTunnel]:
        """Return all tunnels; those that were left may still dial targets."""
        yield from self._left
        yield from self._servers.tunnels()


def _serves_none(client: str) -> None:
    if client:
        raise BackhaulError(f"no client {client}: this is a client itself; ask its server")
