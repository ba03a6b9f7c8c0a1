"""A v0.7.2 client on transport udp, played by the test, and a server for it."""

import asyncio

from backhaul.server import Server

from .datagrams import FLOWS, UdpNet, UdpPeer
from .net import HOST, PATIENCE, Peer, free_port

TARGET = b"127.0.0.1:7100"
HANDSHAKE, RTT, HEARTBEAT, CHANNEL, PING = b"\x00\x06\x01s3cret", b"\x06", b"\x00", b"\x01", b"\x02"


def idle(server: Server) -> int:
    """Return how many tunnels wait for a flow."""
    return server.tunnel.transport.idle


class OldClient:
    """The control channel of a v0.7.2 client."""

    def __init__(self, control: Peer) -> None:
        self._control = control
        self._requests = 0

    @classmethod
    async def connect(cls, net: UdpNet, port: int) -> "OldClient":
        control = await net.dial(port)
        await control.send(HANDSHAKE)
        assert await control.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
        await control.send(RTT)
        return cls(control)

    async def requested(self, count: int = 1) -> None:
        """Wait until the server has requested so many tunnels; heartbeats are skipped."""
        while self._requests < count:
            self._requests += (await self._control.receive(1)) == CHANNEL
        self._requests -= count


async def our_server(net: UdpNet) -> tuple[Server, int, UdpPeer]:
    """Return a server, its tunnel port and a user of it."""
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={TARGET.decode()}"], FLOWS[net.transport], heartbeat=0.1)
    return server, bind_port, net.udp(port)


async def idle_tunnels(net: UdpNet, bind_port: int, count: int) -> list[UdpPeer]:
    """Announce tunnels as a v0.7.2 client does, and wait for the server's pings."""
    tunnels = [net.udp(bind_port) for _ in range(count)]
    for tunnel in tunnels:
        tunnel.send(b"s3cret")
        await tunnel.receive()
    return tunnels


async def behind_pings(tunnel: UdpPeer) -> bytes:
    async with asyncio.timeout(PATIENCE):
        while (data := await tunnel.receive()) == PING:
            pass
    return data
