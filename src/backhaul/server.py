"""The public end, put together."""

import logging

from backhaul.assembly import TLS, mux_settings, patience, tunnel_options
from backhaul.config import ServerConfig
from backhaul.config.diff import Change
from backhaul.errors import BackhaulError
from backhaul.relay.flows import FlowTable
from backhaul.relay.pair import Relay
from backhaul.relay.poller import make_poller, reason
from backhaul.system.memory import backlog_limit
from backhaul.transports.base import DEFAULT_LIMITS, GateLimits, ServerEvents, ServerSettings, ServerTransport
from backhaul.transports.table import make_server
from backhaul.transports.tls import ServerTls
from backhaul.tunnel.serving import ServerTunnel
from backhaul.tunnel.timings import Timings

log = logging.getLogger("backhaul.server")

DEFAULT_TIMINGS = Timings()


class Server:
    """A running server; `start` and `stop` once each, inside a running event loop."""

    def __init__(
        self, config: ServerConfig, timings: Timings = DEFAULT_TIMINGS, limits: GateLimits = DEFAULT_LIMITS
    ) -> None:
        self.config = config
        self._limits = limits
        self._poller = make_poller()
        flows = FlowTable(config.udp_max_flows, config.udp_timeout)
        self.relay = Relay(self._poller, flows=flows, patience=patience(config), backlog_limit=backlog_limit())
        self.tunnel = ServerTunnel(config, self.relay, self._make_transport, timings)

    async def start(self) -> None:
        """Listen; raises BackhaulError if the tunnel's own address is in use."""
        config = self.config
        try:
            self.tunnel.start()
        except OSError as error:
            self.close()
            raise BackhaulError(f"can't listen on {config.bind_addr}: {reason(error)}") from None
        if not self.tunnel.problem:
            count = len(self.tunnel.ports.open)
            ports = "1 port" if count == 1 else f"{count} ports"
            log.info("%s server listens on %s, %s", config.transport, config.bind_addr, ports)

    async def reconfigure(self, new: ServerConfig, change: Change) -> None:
        """Apply `change`, which leads to `new`; users in flight stay.

        Raises BackhaulError when the tunnel's new address or certificate can't be had; the old configuration is in
        force then.
        """
        old, self.config = self.config, new
        if change.rebuild:
            self._rebuild(old)
        self.relay.flows.limit, self.relay.flows.timeout = new.udp_max_flows, new.udp_timeout
        self.relay.patience = patience(new)
        self.tunnel.adopt(new, self._settings())
        ports = self.tunnel.ports
        ports.remove(change.ports_removed)
        ports.retarget(change.ports_retargeted)
        ports.retry()  # the reload may be the administrator's answer to a port that is in use
        ports.add(change.ports_added)

    def _rebuild(self, old: ServerConfig) -> None:
        try:
            self.tunnel.rebuild(self.config, self._make_transport)
        except BackhaulError:
            self.config = old
            raise
        except OSError as error:
            address, self.config = self.config.bind_addr, old
            raise BackhaulError(f"can't listen on {address}: {reason(error)}") from None

    async def stop(self) -> None:
        """End in order: no more users, the client is told, users in flight get `shutdown_timeout` seconds."""
        self.tunnel.stop_listening()
        await self.relay.drained(self.config.shutdown_timeout)
        self.close()

    def close(self) -> None:
        """End at once."""
        self.tunnel.stop_listening()
        self.relay.close()
        self._poller.close()

    def _make_transport(self, events: ServerEvents) -> ServerTransport:
        return make_server(self.config.transport, self._settings(), events, self.relay)

    def _settings(self) -> ServerSettings:
        config = self.config
        return ServerSettings(
            bind_host=config.bind_addr.host,
            bind_port=config.bind_addr.port,
            token=config.token.reveal(),
            mux=mux_settings(config),
            mux_con=config.mux_con,
            tls=ServerTls(config.tls_cert, config.tls_key) if config.transport in TLS else None,
            path=config.path,
            decoy=config.decoy,
            limits=self._limits,
            channel_size=config.channel_size,
            tunnel_options=tunnel_options(config),
        )
