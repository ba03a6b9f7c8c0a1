"""The public end, assembled."""

import asyncio
import errno
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from backhaul.config.address import Address
from backhaul.config.clients import ServedClient
from backhaul.config.diff import Change, PortChange, port_change
from backhaul.config.kinds import kinds_of
from backhaul.net.listeners import Listeners, WithheldListeners
from backhaul.net.pollers import make_poller
from backhaul.net.tls import ServerTls
from backhaul.relay.patience import DEFAULT_PATIENCE, Patience
from backhaul.selection import Selection
from backhaul.state import MovedState, ServedState, ServerState, SessionState, UserState, UserTimesState, joint
from backhaul.transports.auth import Credentials
from backhaul.transports.public_end import Gate, ServerTransport
from backhaul.transports.registry import make_reception, make_server
from backhaul.transports.settings import DEFAULT_LIMITS, GateLimits, ServerSettings
from backhaul.tunnel.front import Front
from backhaul.tunnel.group import Group
from backhaul.tunnel.groups import Groups
from backhaul.tunnel.ledger import NOWHERE, Store
from backhaul.tunnel.limiting import Limiting
from backhaul.tunnel.news import News
from backhaul.tunnel.outcomes import Report
from backhaul.tunnel.places import Headcount, Places
from backhaul.tunnel.port import Port
from backhaul.tunnel.server import ServerTunnel
from backhaul.tunnel.server_roll import server_roll
from backhaul.tunnel.timings import DEFAULT_TIMINGS, Timings

from .assembly import (
    carrier_limits,
    change_relay,
    features,
    make_relay,
    mux_settings,
    prepare_keys,
    protection,
    tunnel_options,
)
from .config import ServerConfig
from .errors import BackhaulError, reason

log = logging.getLogger("backhaul.server")

_INSTANCE: Final = 16  # bytes: no two servers have the same
_SLICE: Final = 100  # clients whose states are made without a pause: a millisecond
_LOOK_EVERY: Final = 0.05  # seconds between checks for users and a successor while stopping


class Server:
    """A running server; call ``start`` and ``stop`` once each, in a running event loop."""

    def __init__(
        self,
        config: ServerConfig,
        timings: Timings = DEFAULT_TIMINGS,
        limits: GateLimits = DEFAULT_LIMITS,
        listeners: Listeners | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        *,
        store: Store = NOWHERE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``store`` keeps the bytes of users for limits of a day or a month; ``clock`` returns seconds since 1970."""
        self.config = config
        self._listeners = listeners or Listeners()
        self.stopping = False
        self._draining = False
        self.news = News()
        self._limits = limits
        self._instance = secrets.token_bytes(_INSTANCE)
        self._timings = timings
        self._poller = make_poller()
        self.relay = make_relay(self._poller, config, patience)
        self.tunnels: dict[str, ServerTunnel] = {}
        """The tunnels by the names of their clients."""
        self._everyone = Headcount()
        self._limiting = Limiting(self.relay, timings, self._everyone, news=self.news, store=store, clock=clock)
        self._roll = server_roll(self.relay.live, self.relay.flows, self.tunnels)
        self._report: Report | None = None
        self._settings = self._make_settings()
        reception = make_reception(config.transport, self._settings, self.relay)
        self._front = Front(config, reception, self.tunnels, timings, self._listeners)
        for client in config.served:
            self._add(client)
        self.groups = Groups(self._poller, self._listeners, self.tunnels, timings=timings, news=self.news)
        for group in config.groups.named:
            self.groups.add(config, group)

    @property
    def tunnel(self) -> ServerTunnel:
        """The tunnel of the unnamed client, or of the first one."""
        return next(iter(self.tunnels.values()))

    async def start(self) -> None:
        """Listen; raise BackhaulError if the tunnel's own address is in use."""
        config = self.config
        await prepare_keys(config)
        await self._listeners.hosts.learn(config.bind_hosts)
        await self._limiting.apply(config.every_limit, self.users)
        try:
            self._front.start()
        except OSError as error:
            await self.end()
            raise _not_listening(config.bind_addr, error) from None
        for owner in self._owners():
            owner.start()
        self._listeners.settle()
        if not self._front.problem:
            count = sum(not port.problem for port in self._ports())
            ports = "1 port" if count == 1 else f"{count} ports"
            log.info("%s server listens on %s, %s", config.transport, config.bind_addr, ports)

    def session(self) -> SessionState:
        """Return the state of the control channels only, which is cheap."""
        return joint([tunnel.session() for tunnel in self.tunnels.values()])

    def moved(self) -> MovedState:
        """Return the bytes of all users, which is cheap."""
        every = [port.traffic for port in self._ports()]
        return MovedState(sum(one.received.bytes for one in every), sum(one.sent.bytes for one in every))

    def state(self) -> ServerState:
        """Return the state of this end."""
        return self._state_with(tuple(tunnel.state() for tunnel in self.tunnels.values()))

    async def survey(self) -> ServerState:
        """Return the state of this end, made in turns: with many clients ``state`` would hold up their users."""
        tunnels, clients = list(self.tunnels.values()), []
        for begin in range(0, len(tunnels), _SLICE):
            clients += [tunnel.state() for tunnel in tunnels[begin : begin + _SLICE]]
            await asyncio.sleep(0)
        return self._state_with(tuple(clients))

    def _state_with(self, clients: tuple[ServedState, ...]) -> ServerState:
        return ServerState(
            transport=self.config.transport,
            stopping=self.stopping,
            draining=self._draining,
            session=joint([client.session for client in clients]),
            relay=self.relay.state(),
            waiting=sum(client.waiting for client in clients),
            unanswered=sum(client.unanswered for client in clients),
            refusing=all(client.refusing for client in clients),
            clients=clients,
            groups=tuple(group.state() for group in self.groups),
            limits=tuple(self._limiting.states(self._ports(), {client.name: client.users for client in clients})),
        )

    def missing_sockets(self) -> int:
        """Return the number of sockets that ports want, and that could not be opened."""
        return sum(port.missing for port in self._ports())

    def _ports(self) -> Iterator[Port]:
        return (port for owner in self._owners() for port in owner.ports.all.values())

    def _owners(self) -> Iterator[ServerTunnel | Group]:
        """Return all owners of ports."""
        return chain(self.tunnels.values(), self.groups)

    def report_to(self, report: Report | None) -> None:
        """Call ``report`` at the end of each user from now on; None ends that."""
        self._report = report
        for tunnel in self.tunnels.values():
            tunnel.report_to(report)

    def users(self) -> Iterator[UserState]:
        """Return the states of all users in flight, each made when it is asked for; pauses in between do no harm."""
        return self._roll.users()

    def close_users(self, selection: Selection) -> Iterator[bool]:
        """Reset the chosen users, one by one; yield for each user whether it was chosen."""
        return self._roll.close(selection)

    async def drain(self, client: str = "") -> None:
        """Refuse new users until ``resume``, of all clients or of one; present ones stay.

        Raises BackhaulError if there is no client with this name.
        """
        self._draining = self._draining or not client
        for tunnel in self._chosen(client):
            tunnel.entrance.drain()

    async def resume(self, client: str = "") -> None:
        """Admit new users again; raise BackhaulError if there is no client with this name."""
        self._draining = self._draining and bool(client)
        for tunnel in self._chosen(client):
            tunnel.entrance.resume()

    def _chosen(self, client: str) -> list[ServerTunnel]:
        if client and client not in self.tunnels:
            raise BackhaulError(f"no client {client}; its name is that of its table in the configuration")
        return [self.tunnels[client]] if client else list(self.tunnels.values())

    def user_times(self) -> Iterator[UserTimesState]:
        """Return the times of TCP users by port and client; pauses in between do no harm."""
        for owner in list(self._owners()):
            for port in list(owner.ports.all.values()):
                yield from port.time_states()

    async def reconfigure(self, new: ServerConfig, change: Change) -> None:
        """Apply ``change``, which leads to ``new``; users in flight stay.

        Raises BackhaulError if the tunnel's new address or certificate is unusable; the old configuration stays in
        force then.
        """
        await prepare_keys(new)
        await self._listeners.hosts.learn(new.bind_hosts)
        await self._change_limits(self.config, new)
        old, self.config = self.config, new
        try:
            if change.rebuild:
                self._rebuild(old)
        except BackhaulError:
            await self._change_limits(new, old)
            raise
        change_relay(self.relay, new)
        self._serve(old, new, rebuilt=change.rebuild)
        self._listeners.settle()

    async def _change_limits(self, before: ServerConfig, after: ServerConfig) -> None:
        if after.every_limit != before.every_limit:
            await self._limiting.apply(after.every_limit, self.users)

    def _serve(self, old: ServerConfig, new: ServerConfig, *, rebuilt: bool) -> None:
        """Add, remove and change clients; those that stay as they are notice nothing."""
        before = {client.name: client for client in old.served}
        after = {client.name: client for client in new.served}
        self.groups.make_way(old, new)
        for name in before.keys() - after.keys():
            self.tunnels.pop(name).stop_listening()
        self._settings.credentials.change(_tokens(new))
        alike = old.serves_alike(new)
        kept = [name for name in before if name in after and not (alike and before[name] == after[name])]
        changes = {name: port_change(before[name].ports, after[name].ports) for name in kept}
        for name, change in changes.items():  # first, because another client may get the port
            self.tunnels[name].ports.make_way(kinds_of(new), change)
        for tunnel in self.tunnels.values():
            tunnel.ports.retry()  # the administrator may have freed a port before the reload
        for name, change in changes.items():
            self._change(after[name], change)
            if before[name].accepted != after[name].accepted and not rebuilt:
                self.tunnels[name].renew()
        for name in [name for name in after if name not in before]:
            self._add(after[name])
            self.tunnels[name].join()
        self.groups.serve(old, new)

    def _change(self, after: ServedClient, change: PortChange) -> None:
        tunnel = self.tunnels[after.name]
        tunnel.adopt(self.config.of(after), carrier_limits(self.config))
        tunnel.places.most = after.max_connections
        tunnel.ports.add(change.added)

    def _rebuild(self, old: ServerConfig) -> None:
        try:
            settings = self._make_settings()
            reception = make_reception(self.config.transport, settings, self.relay)
            transports = {name: self._make_transport(settings, reception.gate_of(name)) for name in self.tunnels}
            self._front.move(self.config, reception, transports)
            self._settings = settings
        except BackhaulError:
            self.config = old
            raise
        except OSError as error:
            address, self.config = self.config.bind_addr, old
            raise _not_listening(address, error) from None

    async def stop(self, succeeded: Callable[[], bool] = lambda: False) -> None:
        """End cleanly: users in flight get ``shutdown_timeout`` seconds, and meanwhile new ones are served.

        A server that had users a moment ago waits for more: most stops are restarts, and the next process may be
        starting. ``succeeded`` tells whether another process listens on the same ports, to which new users are left. If
        the service manager keeps the listening sockets, users wait in them after the end of this process.
        """
        self.stopping = True
        loop = asyncio.get_running_loop()
        end = loop.time() + self.config.shutdown_timeout
        if not self._listeners.kept:
            self._listeners.share()
        while self._serving and not succeeded() and loop.time() < end:  # noqa: ASYNC110 - once, at the very end
            await asyncio.sleep(_LOOK_EVERY)
        if succeeded():
            self._listeners.prefer_newer()
            await asyncio.gather(*(owner.hand_over() for owner in self._owners()))
        self._stop_listening()
        await self.relay.drained(max(0.0, end - loop.time()))
        await self.end()

    @property
    def _serving(self) -> bool:
        """True while there are users, and a client to carry them, or one expected soon."""
        useful = [tunnel for tunnel in self.tunnels.values() if tunnel.useful]
        coming = not self._listeners.kept and any(tunnel.busy for tunnel in useful)
        return bool(useful) and bool(self.relay.busy or coming or any(tunnel.waiting for tunnel in useful))

    async def end(self) -> None:
        """Reset users in flight, give the other ends of all connections a moment to read, and store the quotas."""
        self._stop_listening()
        self._listeners.close()
        self.relay.close()
        await self._poller.lingering.finish(self._timings.last_bytes)
        self._poller.close()
        await self._limiting.finish()

    def _stop_listening(self) -> None:
        self.groups.close()
        for tunnel in self.tunnels.values():
            tunnel.stop_listening()
        self._limiting.close()
        self._front.stop()

    def _add(self, client: ServedClient) -> None:
        """Make the tunnel of a client, which does not listen yet."""
        tunnel = ServerTunnel(
            self.config.of(client),
            self.relay,
            self._make_transport(self._settings, self._front.gate_of(client.name)),
            self._timings,
            self._listeners,
            places=Places(client.name, client.max_connections, self._everyone, self._limiting.objection_to),
            limiting=self._limiting,
            news=self.news,
            unreachable=lambda: self._front.problem,
        )
        tunnel.report_to(self._report)
        if self._draining:
            tunnel.entrance.drain()
        self.tunnels[client.name] = tunnel

    def _make_transport(self, settings: ServerSettings, gate: Gate) -> ServerTransport:
        config = self.config
        return make_server(config.transport, settings, carrier_limits(config), self.relay, gate)

    def _make_settings(self) -> ServerSettings:
        config = self.config
        return ServerSettings(
            bind_host=config.bind_addr.host,
            bind_port=config.bind_addr.port,
            credentials=Credentials(_tokens(config)),
            mux=mux_settings(config),
            tls=self._tls() if config.facts.tls else None,
            path=config.path,
            decoy=config.decoy,
            limits=self._limits,
            protection=protection(config),
            listeners=WithheldListeners(self._listeners),
            tunnel_options=tunnel_options(config),
            features=features(config),
            instance=self._instance,
        )

    def _tls(self) -> ServerTls:
        config = self.config
        return ServerTls(
            config.tls_cert,
            config.tls_key,
            over_unix=config.bind_addr.is_path,
            look_every=self._timings.certificate,
        )


def _tokens(config: ServerConfig) -> dict[str, list[str]]:
    return {client.name: [token.reveal() for token in client.accepted] for client in config.served}


def _not_listening(address: Address, error: OSError) -> BackhaulError:
    """Return the error of a server that can't listen for clients."""
    taken = error.errno == errno.EADDRINUSE and not address.is_path
    remedy = "; `ss -ltnp` shows the program that uses it" if taken else ""
    return BackhaulError(f"can't listen on {address}: {reason(error)}{remedy}")
