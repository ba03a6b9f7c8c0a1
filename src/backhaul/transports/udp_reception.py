"""The reception of transport udp: a gate for control channels, and a socket for tunnels, of all clients."""

import errno
from typing import TYPE_CHECKING

from backhaul.net.poller import Poller

from .carriers.udp_server import UdpServer
from .carriers.udp_socket import TunnelSocket
from .carriers.udp_tunnels import ClientTunnels
from .gates.reception import ClientGate, Reception, SharedGate
from .public_end import Gate
from .settings import CarrierLimits, ServerSettings

if TYPE_CHECKING:
    from .carriers.resources import UdpServerResources, UdpTunnelResources


def make_udp_server(settings: ServerSettings, limits: CarrierLimits, poller: Poller, gate: Gate) -> UdpServer:
    """Return the public end for the client of ``gate``, which is one of a ``UdpReception``."""
    if not isinstance(gate, UdpGate):
        raise TypeError("transport udp needs the gate of its own reception")
    return UdpServer(settings, limits, gate, poller)


class AllTunnels:
    """The socket, and the tunnels of each client."""

    def __init__(self, socket: TunnelSocket, relay: "UdpTunnelResources") -> None:
        self.socket = socket
        self._relay = relay
        self._by_client: dict[str, ClientTunnels] = {}

    @property
    def in_use(self) -> bool:
        """True until the socket is closed."""
        return self.socket.is_open

    def of(self, client: str) -> ClientTunnels:
        """Return the tunnels of the client with this name."""
        if client not in self._by_client:
            self._by_client[client] = ClientTunnels(self.socket, self._relay, client)
        return self._by_client[client]


class UdpReception(Reception):
    """Owns the gate, and the socket, which it passes to the reception that takes its place."""

    def __init__(self, gate: SharedGate, settings: ServerSettings, relay: "UdpServerResources") -> None:
        super().__init__(relay, gate)
        self._settings = settings
        self.tunnels = AllTunnels(TunnelSocket(settings, relay.poller), relay)
        self.remainders = (self.tunnels,)

    def gate_of(self, client: str) -> "UdpGate":
        """Return the gate as the carrier of the client with this name sees it."""
        return UdpGate(self, client)

    def succeed(self, before: Reception) -> None:
        """Take over an open socket at this address, with all tunnels."""
        super().succeed(before)
        for tunnels in self._others():
            if tunnels.socket.address == self.tunnels.socket.address:
                self.tunnels = tunnels
        self.remainders = tuple({self.tunnels: None, **dict.fromkeys(self.remainders)})

    def _others(self) -> list[AllTunnels]:
        """Return the tunnels of former receptions that are in use."""
        return [part for part in self.remainders if isinstance(part, AllTunnels) and part is not self.tunnels]

    def listen(self) -> None:
        """Listen; raises OSError. Flows at another address end if it keeps this one from being opened."""
        super().listen()
        try:
            self._open_socket()
        except OSError:
            super().close()
            raise

    def _open_socket(self) -> None:
        try:
            self.tunnels.socket.open(self._settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            self._end_those_in_the_way()
            self.tunnels.socket.open(self._settings)

    def _end_those_in_the_way(self) -> None:
        """End the flows at other addresses of the port, one of which stands for all addresses of the machine."""
        port = self.tunnels.socket.address[1]
        for tunnels in self._others():
            if tunnels.socket.address[1] == port:
                tunnels.socket.end()

    def close(self) -> None:
        """Stop listening, and close the control channels; flows go on."""
        super().close()
        self.tunnels.socket.close()


class UdpGate(ClientGate):
    """The gate, as the carrier of one client sees it."""

    __slots__ = ()

    _reception: UdpReception

    @property
    def tunnels(self) -> ClientTunnels:
        """The tunnels of the client."""
        return self._reception.tunnels.of(self._client)
