"""The end behind the firewall, assembled."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from backhaul.config.diff import Change
from backhaul.net.bridge import Bridges
from backhaul.net.poller import make_poller
from backhaul.net.resolver import LookUp, Resolver, look_up
from backhaul.net.tls import ClientTls
from backhaul.relay.engine import Relay
from backhaul.relay.flows import FlowTable
from backhaul.relay.patience import DEFAULT_PATIENCE, Patience
from backhaul.state import ClientState, Selection, SessionState, UserState, UserTimesState
from backhaul.system.limits import descriptor_limit
from backhaul.system.memory import backlog_limit
from backhaul.transports.auth import ForgetfulMemory, KnownServers, OwnTokens
from backhaul.transports.base import ClientTransport
from backhaul.transports.registry import make_client
from backhaul.transports.settings import ClientSettings
from backhaul.tunnel.client import ClientTunnel
from backhaul.tunnel.client_roll import client_roll
from backhaul.tunnel.news import News
from backhaul.tunnel.target_book import TargetBook
from backhaul.tunnel.timings import DEFAULT_TIMINGS, Timings

from .assembly import mux_settings, patient, protection, tunnel_options
from .config import ClientConfig
from .errors import BackhaulError

log = logging.getLogger("backhaul.client")


class Client:
    """A running client; call ``start`` and ``stop`` once each, in a running event loop."""

    def __init__(
        self,
        config: ClientConfig,
        *,
        names: LookUp = look_up,
        known: KnownServers | None = None,
        descriptors: Callable[[], int] = descriptor_limit,
        timings: Timings = DEFAULT_TIMINGS,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        """Prepare a client; ``names`` looks names up, is called in threads and may block."""
        self.config = config
        self.news = News()
        self._poller = make_poller()
        flows = FlowTable(config.udp_max_flows, config.udp_timeout)
        self.relay = Relay(self._poller, flows=flows, patience=patient(config, patience), backlog_limit=backlog_limit())
        # The server's name has its own resolver, so that look-ups of targets that hang delay no reconnect. It does not
        # trust old answers, which would hide that the server has moved.
        self._server_names = Resolver(lookup=names, trust=0)
        self._target_names = Resolver(lookup=names)
        self._bridges = Bridges()
        self._targets = TargetBook()
        self._known = known or ForgetfulMemory()
        self._descriptors = descriptors
        self._timings = timings
        self.tunnel = self._make_tunnel()
        self._left: list[ClientTunnel] = []  # replaced by reloads; targets of their users may still be dialled
        self._roll = client_roll(self.relay, lambda: (*self._left, self.tunnel))
        self._running: asyncio.Task[None] | None = None
        self.stopping = False
        self.draining = False

    async def start(self) -> None:
        """Begin to connect; an unreachable server is retried and no error."""
        self._running = asyncio.create_task(self.tunnel.run())

    async def drain(self) -> None:
        """Leave the server until ``resume``, so that it sends no new users; present ones stay."""
        if not self.draining:
            self.draining = True
            log.info("draining: disconnected from the server, users in flight stay; `backhaul resume` ends that")
            await self._leave()

    async def resume(self) -> None:
        """Connect to the server again; raise BackhaulError if the configuration has become unusable."""
        if self.draining:
            self._take(self._make_tunnel())
            self.draining = False
            log.info("no longer draining: connecting to the server")
            await self.start()

    async def stop(self) -> None:
        """End in order: tell the server, and give users in flight ``shutdown_timeout`` seconds."""
        self.stopping = True
        await self._stop_running()
        await self.tunnel.settled(min(self._timings.settle, self.config.shutdown_timeout))
        await self.relay.drained(self.config.shutdown_timeout)
        self.close()

    def close(self) -> None:
        """End at once: users in flight are reset."""
        for tunnel in (*self._left, self.tunnel):
            tunnel.close()
        self._server_names.close()
        self._target_names.close()
        self.relay.close()
        self._bridges.close()
        self._poller.close()

    def session(self) -> SessionState:
        """Return the state of the tunnel only, which is cheap."""
        return self.tunnel.session()

    def state(self) -> ClientState:
        """Return the state of this end."""
        tunnel = self.tunnel
        return ClientState(
            transport=self.config.transport,
            stopping=self.stopping,
            draining=self.draining,
            session=tunnel.session(),
            relay=self.relay.state(),
            pool_size=tunnel.pool_size,
            dialling=tunnel.dialling,
            allow_targets=self.config.allow_targets,
            targets=tunnel.targets.states(),
            others=tunnel.targets.others.state(),
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

    async def reconfigure(self, new: ClientConfig, change: Change) -> None:
        """Apply ``change``, which leads to ``new``; users in flight stay.

        Raises BackhaulError if the new configuration is unusable; the old one stays in force then.
        """
        old, self.config = self.config, new
        self.relay.apply(patient(new, self.relay.patience), max_flows=new.udp_max_flows, flow_timeout=new.udp_timeout)
        if not change.rebuild:
            self.tunnel.adopt(new)
            return
        try:
            tunnel = self._make_tunnel()
        except BackhaulError:
            self.config = old
            raise
        await self._leave()
        self._take(tunnel)
        if not self.draining:
            await self.start()

    async def _leave(self) -> None:
        """Disconnect from the server; users on their way still arrive."""
        await self._stop_running()
        asyncio.get_running_loop().call_later(self._timings.leave, self.tunnel.close_idle)

    def _take(self, tunnel: ClientTunnel) -> None:
        self._left = [*(left for left in self._left if left.busy), self.tunnel]
        tunnel.opened = self.tunnel.opened
        self.tunnel = tunnel

    async def _stop_running(self) -> None:
        self.tunnel.stop()
        if self._running:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    def _make_tunnel(self) -> ClientTunnel:
        return ClientTunnel(
            self.config,
            self._poller,
            self._make_transport(),
            self._target_names,
            targets=self._targets,
            timings=self._timings,
            descriptors=self._descriptors(),
            news=self.news,
        )

    def _make_transport(self) -> ClientTransport:
        config, timings = self.config, self._timings
        settings = ClientSettings(
            remote_host=config.remote_addr.host,
            remote_port=config.remote_addr.port,
            tokens=OwnTokens(token.reveal() for token in config.accepted),
            mux=mux_settings(config),
            protection=protection(config),
            known=self._known,
            host_header=str(config.remote_addr.unscoped),
            edge_ip=config.edge_ip,
            proxy=config.way,
            bridges=self._bridges,
            path=config.path,
            tls=self._tls() if config.facts.tls else None,
            dial_timeout=config.dial_timeout,
            handshake_timeout=timings.handshake,
            upgrade_timeout=timings.upgrade,
            leave=timings.leave,
            tunnel_options=tunnel_options(config),
        )
        return make_client(config.transport, settings, self.relay, self._server_names)

    def _tls(self) -> ClientTls:
        config = self.config
        return ClientTls(
            server_name=config.tls_server_name or config.remote_addr.unscoped.host,
            verify=config.tls_verify,
            ca=config.tls_ca,
            fingerprint=config.tls_fingerprint,
        )
