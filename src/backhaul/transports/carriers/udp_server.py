"""The public end of transport udp for one client, whose tunnels are addresses that it has announced."""

from typing import Protocol

from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.relay.flows import Flow
from backhaul.transports.connection import Connection
from backhaul.transports.public_end import Carry, Gate, ServerEvents
from backhaul.transports.session import ClientSession
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.transports.user import User

from .server import GatedServer
from .udp_tunnels import ClientTunnels


class TunnelGate(Gate, Protocol):
    """The entrance of the public end, which keeps the client's tunnels beyond a reload."""

    @property
    def tunnels(self) -> ClientTunnels:
        """The tunnels of the client."""


class UdpServer(GatedServer):
    """The tunnels of a client, beside its control channel."""

    _gate: TunnelGate

    def __init__(self, settings: ServerSettings, limits: CarrierLimits, gate: TunnelGate, poller: Poller) -> None:
        super().__init__(settings, limits, gate)
        self._poller = poller

    @property
    def idle(self) -> int:
        """The number of tunnels that wait for a flow."""
        return self._gate.tunnels.idle

    @property
    def dropped(self) -> int:
        """The number of idle tunnels beyond ``most_idle`` so far."""
        return self._gate.tunnels.dropped

    @property
    def most_idle(self) -> int:
        """The number of idle tunnels that are kept."""
        return self._limits.channel_size

    def start(self, events: ServerEvents) -> None:
        """Report to ``events``."""
        super().start(events)
        self._gate.tunnels.report_to(self)

    def tunnel_ready(self) -> None:
        """Tell the control plane."""
        self._events.carrier_ready()

    def beat(self) -> None:
        """Send the heartbeat, and ping the idle tunnels."""
        super().beat()
        self._gate.tunnels.ping()

    def client_connected(self, session: ClientSession) -> None:
        """Expect the tunnels of this client, and tell the control plane."""
        self._gate.tunnels.client_connected(session)
        super().client_connected(session)

    def assign(self, user: User) -> bool:
        """Return False: this transport carries no streams."""
        del user
        return False

    def assign_flow(self, flow: Flow) -> Carry:
        """Assign the idle tunnel with the most recent sign of life, if there is one."""
        return Carry.CARRIED if self._gate.tunnels.assign(flow) else Carry.LATER

    def tunnel_opened(self, connection: Connection) -> None:
        """Close the connection: no tunnel is a TCP connection."""
        release(self._poller, connection.sock)

    def _drop_idle(self) -> None:
        self._gate.tunnels.drop_idle()
