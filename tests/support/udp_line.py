"""Transport udp on the line: a NAT that records and holds back, and the messages as the ends read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backhaul.config.ports import PortMapping
from backhaul.security.datagrams import DatagramOpener, DatagramSealer
from backhaul.server import Server
from backhaul.wire.announcements import Announcement, announce, read_announcement

from .datagrams import Nat, UdpNet, UdpPeer
from .middlebox import Middlebox
from .net import HOST, free_port, until
from .tunnel import Tunnel


class ProtectedNet(UdpNet):
    """A net for transport udp whose servers have these ``lines`` in their configuration."""

    def __init__(self, lines: str) -> None:
        super().__init__("udp")
        self._lines = lines

    async def server(self, bind_port: int, ports: Sequence[str] = (), lines: str = "", **options: Any) -> Server:  # noqa: ANN401 - those of Net
        """Start a server."""
        return await super().server(bind_port, ports, f"{lines}\n{self._lines}", **options)


@dataclass
class Scene:
    """A tunnel through a NAT, and a user of it."""

    tunnel: Tunnel
    nat: "RecordingNat"
    echo: UdpPeer
    user: UdpPeer
    net: UdpNet
    control: Middlebox  # between client and server, for the control channel

    @property
    def flows(self) -> int:
        """How many flows there have been."""
        return self.tunnel.server.tunnel.ports.open[HOST, self.tunnel.ports[0], ""].udp.total

    def another_user(self, target: int) -> UdpPeer:
        """Return a user of another target."""
        port = free_port()
        self.tunnel.server.tunnel.ports.add([PortMapping(HOST, port, str(target))])
        return self.net.udp(port)


class RecordingNat(Nat):
    """Keeps every datagram, and passes none of the server's on while it holds them back."""

    def __init__(self, net: UdpNet, port: int, target: int, lost: int) -> None:
        """Lose so many of the client's first datagrams."""
        super().__init__(net, port, target)
        self._lost = lost
        self.sent: list[bytes] = []  # by the client
        self.answered: list[bytes] = []  # by the server
        self.holding = False  # what the server sends
        self.upwards = self._sent
        self.downwards = self._answered

    def to_client(self, data: bytes) -> None:
        """Send to all tunnels of the client."""
        for address in self._outside:
            self._inside.send(data, address)

    def to_busiest(self, data: bytes) -> None:
        """Send to the tunnel of the client that the server has sent most to."""
        address = max(self._outside, key=lambda address: self._outside[address].count)
        self._inside.send(data, address)

    def _sent(self, data: bytes) -> int:
        self.sent.append(data)
        return 0 if len(self.sent) <= self._lost else 1

    def _answered(self, data: bytes) -> int:
        self.answered.append(data)
        return 0 if self.holding else 1


async def through_a_nat(net: UdpNet, *, lost: int = 0, client: str = "") -> Scene:
    """Start both ends, with two tunnels; so many of the client's first datagrams are lost.

    ``client`` is more of its configuration.
    """
    bind_port, port, echo = free_port(), free_port(), net.udp_echo()
    server = await net.server(bind_port, [f"{HOST}:{port}={echo.port}"])
    control = net.middlebox(bind_port)
    nat = RecordingNat(net, control.port, bind_port, lost)
    other = await net.client(control.port, f"connection_pool = 2\n{client}")
    tunnel = Tunnel(server, other, bind_port, [port], net)
    await until(lambda: tunnel.connected)
    return Scene(tunnel, nat, echo, net.udp(port), net, control)


def heard(server: Server, datagram: bytes) -> Announcement | None:
    """Return the announcement in a datagram, as the server reads it."""
    keys = server.tunnel.transport.session.keys
    assert keys
    opener = DatagramOpener(keys.datagrams(b"announcements")[1], keys.cipher)
    message = opener.decrypt(opener.number(datagram), datagram) if len(datagram) >= 8 else None
    return read_announcement(message) if message else None


def announced(server: Server, announcement: Announcement, *, newer: int = 0, client: str = "") -> bytes:
    """Return an announcement as from a client, newer than its own and those with a smaller ``newer``."""
    keys = server.tunnels[client].transport.session.keys
    assert keys
    sealer = DatagramSealer(keys.datagrams(b"announcements")[1], keys.cipher, number=5000 + newer)
    return sealer.seal(announce(announcement, 0))
