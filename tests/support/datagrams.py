"""UDP sockets that a test drives, and tunnels that carry datagrams."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from .net import HOST, PATIENCE, until
from .tunnel import BUILT, Net, Tunnel

# All transports carry datagrams; these lines switch it on.
FLOWS = {"udp": "", **dict.fromkeys(BUILT, "accept_udp = true")}

_IP_PKTINFO = 8  # <linux/in.h>; ip(7)
_PKTINFO = struct.Struct("=i4s4s")  # interface, source when sending, destination when receiving

Address = Any


async def repeat(act: Callable[[], None], condition: Callable[[], Any]) -> None:
    """Repeat an action until its effect shows, because a datagram may be lost."""

    def act_and_look() -> Any:  # noqa: ANN401 - whatever is true
        act()
        return condition()

    await until(act_and_look)


class UdpPeer:
    """A UDP socket; every wait is bounded by PATIENCE (TimeoutError)."""

    def __init__(self, sock: socket.socket, heard: Callable[[bytes, Address], None] | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock = sock
        self.heard: deque[tuple[bytes, Address]] = deque()
        self.count = 0  # the number of datagrams received so far
        self._heard = heard or self._keep
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(sock, self._readable)

    @property
    def port(self) -> int:
        """The local port."""
        return int(self.sock.getsockname()[1])

    def send(self, data: bytes, to: Address = None) -> None:
        """Send to ``to``, or to the peer of the connected socket."""
        self.sock.sendmsg([data], [], 0, to)

    async def receive_from(self) -> tuple[bytes, Address]:
        """Return the next datagram and its sender."""
        async with asyncio.timeout(PATIENCE):
            while not self.heard:
                self._news.clear()
                await self._news.wait()
        return self.heard.popleft()

    async def receive(self) -> bytes:
        """Return the next datagram."""
        return (await self.receive_from())[0]

    async def ask(self, data: bytes) -> bytes:
        """Send, and return the answer."""
        self.send(data)
        return await self.receive()

    def close(self) -> None:
        """Close; harmless when closed."""
        if self.sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.sock)
            self.sock.close()

    def _readable(self) -> None:
        while self.sock.fileno() >= 0:
            try:
                data, address = self.sock.recvfrom(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # an ICMP error; the test notices that nothing arrives
                continue
            self.count += 1
            self._heard(data, address)

    def _keep(self, data: bytes, address: Address) -> None:
        self.heard.append((data, address))
        self._news.set()


class Sources:
    """One socket that sends from any address of 127.0.0.0/8."""

    def __init__(self) -> None:
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self.sock.bind(("0.0.0.0", 0))

    def send(self, number: int, data: bytes, to: tuple[str, int]) -> None:
        """Send from the source with this number (up to 2 ** 24 - 256)."""
        source = (0x7F000100 + number).to_bytes(4)
        info = (socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, source, bytes(4)))
        self.sock.sendmsg([data], [info], 0, to)

    def receive(self) -> tuple[int, bytes] | None:
        """Return the number of an answered source with the answer; None if there is none."""
        try:
            data, ancillary, _, _ = self.sock.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return None
        _, _, destination = _PKTINFO.unpack(ancillary[0][2])
        return int.from_bytes(destination) - 0x7F000100, data

    def close(self) -> None:
        """Close."""
        self.sock.close()


class UdpNet(Net):
    """A Net with datagrams: all of its UDP sockets are closed at the end, and nothing may remain."""

    def __init__(self, transport: str) -> None:
        super().__init__(transport)
        self._datagram_peers: list[UdpPeer | Sources] = []

    def udp(
        self,
        to: int = 0,
        host: str = HOST,
        *,
        port: int = 0,
        heard: Callable[[bytes, Address], None] | None = None,
    ) -> UdpPeer:
        """Open a UDP socket on ``port`` (0: any), connected to port ``to`` if given; ``heard`` gets the datagrams."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, port))
        if to:
            sock.connect((host, to))
        peer = UdpPeer(sock, heard)
        self._datagram_peers.append(peer)
        return peer

    def udp_echo(self, host: str = HOST, *, port: int = 0) -> UdpPeer:
        """Open a UDP socket that answers ``echo:`` and the datagram, or just the datagram if it is long."""

        def answer(data: bytes, address: Address) -> None:
            peer.send(data if len(data) > 1000 else b"echo:" + data, address)

        peer = self.udp(0, host, port=port, heard=answer)
        return peer

    def sources(self) -> Sources:
        """Open a socket that sends from many addresses."""
        sources = Sources()
        self._datagram_peers.append(sources)
        return sources

    async def flows(self, *targets: int | str, server: str = "", client: str = "", **options: Any) -> Tunnel:  # noqa: ANN401
        """Start a tunnel that carries datagrams."""
        return await self.tunnel(*targets, server=f"{FLOWS[self.transport]}\n{server}", client=client, **options)

    async def __aexit__(self, *details: object) -> None:
        while self._datagram_peers:
            self._datagram_peers.pop().close()
        await super().__aexit__(*details)


class Nat:
    """Forwards datagrams to a port of this machine, from a separate address for each address inside."""

    def __init__(self, net: UdpNet, port: int, target: int) -> None:
        self._net = net
        self._target = target
        self._outside: dict[Address, UdpPeer] = {}
        self._frozen: set[Address] = set()
        self.upwards: Callable[[bytes], int] = lambda _: 1  # copies of each datagram that are passed on
        self.downwards: Callable[[bytes], int] = lambda _: 1
        self.host = HOST  # the address that clients inside want to reach
        self._inside = net.udp(port=port, heard=self._from_inside)

    @property
    def outside(self) -> list[UdpPeer]:
        """The addresses of the NAT that the server sees."""
        return list(self._outside.values())

    def rebind(self) -> None:
        """Give every address inside another one outside; datagrams to the old ones are lost."""
        for peer in self._outside.values():
            peer.close()
        self._outside.clear()

    def freeze(self) -> None:
        """Drop all datagrams of the present addresses inside, and those to them."""
        self._frozen |= self._outside.keys()

    def _from_inside(self, data: bytes, address: Address) -> None:
        if address in self._frozen:
            return
        if address not in self._outside:
            self._outside[address] = self._net.udp(
                self._target, self.host, heard=lambda answer, _: self._from_outside(answer, address)
            )
        for _ in range(self.upwards(data)):
            self._outside[address].send(data)

    def _from_outside(self, data: bytes, address: Address) -> None:
        if address in self._frozen:
            return
        for _ in range(self.downwards(data)):
            self._inside.send(data, address)


async def echoing(net: UdpNet, server: str = "", client: str = "") -> tuple[Tunnel, UdpPeer]:
    """Return a tunnel to an echo, and a user of it."""
    tunnel = await net.flows(net.udp_echo().port, server=server, client=client)
    return tunnel, net.udp(tunnel.ports[0])
