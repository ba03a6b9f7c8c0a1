"""A whole protected tunnel with users, through an eavesdropper who records every byte and datagram of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from backhaul.client import Client
from backhaul.server import Server
from backhaul.wire.frames import Sealed, sealed_kind

from .datagrams import FLOWS, UdpNet, UdpPeer
from .eavesdropper import Eavesdropper
from .net import HOST, Peer, echo, free_port, until
from .targets import Service
from .udp_line import RecordingNat

SECRET = b"a user's own words"
POOL = 2
PATHS = ("tcp", "tcpmux", "ws", "wsmux", "udp")


@dataclass
class RecordedTunnel:
    """A tunnel with one port for both kinds of users, as far as its transport carries them."""

    net: UdpNet
    server: Server
    client: Client
    between: Eavesdropper
    nat: RecordingNat
    bind_port: int
    port: int
    lines: str
    service: Service
    datagrams: UdpPeer
    """The target of users' datagrams."""
    users: list[Peer] = field(default_factory=list)
    flows: list[UdpPeer] = field(default_factory=list)

    @property
    def http(self) -> bool:
        """True if connections begin with requests."""
        return self.net.transport.startswith("ws")

    @property
    def line(self) -> bytes:
        """Everything that was on the line."""
        pieces = [piece for each in self.between.recordings for piece in (b"".join(each.up), b"".join(each.down))]
        return b"\n".join([*pieces, *self.nat.sent, *self.nat.answered])

    def sealed_by_client(self) -> list[bytes]:
        """Return the client's datagrams, except those of users in clear, which are as safe as on any network."""
        return [datagram for datagram in self.nat.sent if SECRET not in datagram]

    def sealed_by_server(self) -> list[bytes]:
        """Return the same of the server."""
        return [datagram for datagram in self.nat.answered if SECRET not in datagram]

    async def use(self) -> None:
        """Serve one more user of each kind, who stay."""
        if self.net.transport != "udp":
            self.users.append(await self.net.dial(self.port))
            await echo(self.users[-1], SECRET)
        self.flows.append(self.net.udp(self.port))
        assert await self.flows[-1].ask(SECRET) == b"echo:" + SECRET
        await self.rested()

    async def rested(self) -> None:
        """Wait until both ends are connected, and agree on the idle tunnel connections."""
        ends = self.server.tunnel, self.client.tunnel
        await until(lambda: all(end.connected for end in ends))
        await until(lambda: not ends[1].transport.opening and ends[1].transport.connections >= POOL)
        await until(lambda: ends[0].transport.idle == ends[1].transport.idle)

    async def reconnect(self) -> None:
        """Cut all connections, and wait for another control channel."""
        opened = self.client.tunnel.opened
        self.between.cut()
        await until(lambda: self.client.tunnel.opened > opened and self.client.tunnel.connected)
        await until(lambda: not self.client.tunnel.transport.opening)

    async def assert_users_undisturbed(self) -> None:
        """Assert that each user still has their own target, and only its bytes."""
        for user in self.users:
            assert user.silent()
            await echo(user, b"still there")
        for flow in self.flows:
            assert not flow.heard
            assert await flow.ask(b"still there") == b"echo:still there"

    def forget_users(self) -> None:
        """Close all users, for instance because their server is gone."""
        for user in self.users:
            user.close()
        for flow in self.flows:
            flow.close()
        self.users, self.flows = [], []

    def books(self) -> list[object]:
        """Return everything that only users and their client may change."""
        server = self.server.tunnel
        port = server.ports.open[HOST, self.port, ""]
        return [
            *(server.opened, server.connected, server.transport.idle),
            *(port.total, port.dropped, port.udp.total),
            *(port.traffic.received.bytes, port.traffic.sent.bytes),
            *(self.service.met, self.datagrams.count),
        ]

    async def restart_server(self) -> None:
        """Stop the server, and start another process of it."""
        await self.net.stop(self.server)
        self.server = await self.net.server(self.bind_port, [f"{HOST}:{self.port}={self.service_port}"], self.lines)

    @property
    def service_port(self) -> int:
        """The port of both targets."""
        return self.datagrams.port


@asynccontextmanager
async def recorded(
    transport: str,
    lines: str = "",
    *,
    client: str = "",
    **unchecked: Any,  # noqa: ANN401 - any key
) -> AsyncIterator[RecordedTunnel]:
    """Run a tunnel whose server has these lines, and these ``unchecked`` keys, in its configuration."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(UdpNet(transport))
        bind_port, port, target = free_port(), free_port(), free_port()
        service, datagrams = await net.service(target), net.udp_echo(port=target)
        lines_of_server = f"{FLOWS[transport]}\n{lines}"
        net.timings = {"look": 0.02}
        server = await net.server(bind_port, [f"{HOST}:{port}={target}"], lines_of_server, **unchecked)
        between = await stack.enter_async_context(Eavesdropper(net.listen(), bind_port))
        nat = RecordingNat(net, between.port, bind_port, 0)
        end = await net.client(between.port, client or f"connection_pool = {POOL}", retry_interval=0.001)
        tunnel = RecordedTunnel(net, server, end, between, nat, bind_port, port, lines_of_server, service, datagrams)
        await tunnel.rested()
        yield tunnel


def begins_control_channel(first: bytes) -> bool:
    """Return whether a client's connection with these first bytes is a control channel."""
    return first.startswith(b"GET /channel ") or sealed_kind(first[2]) is Sealed.HANDSHAKE
