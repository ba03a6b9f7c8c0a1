"""A reload of the transport to udp, or from it: the users in flight, and those who come later."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.cert import certificate
from tests.support.datagrams import UdpNet, UdpPeer, repeat
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.old_udp import TARGET, OldClient, behind_pings, idle_tunnels, our_server
from tests.support.torn import Torn
from tests.support.tunnel import Tunnel, change
from tests.support.udp_clients import insist

from backhaul.errors import BackhaulError

CERT, KEY = certificate()
TLS = {"tls_cert": str(CERT), "tls_key": str(KEY)}

from_and_to = pytest.mark.parametrize(
    ("before", "after"),
    [("tcp", "udp"), ("tcpmux", "udp"), ("wss", "udp"), ("udp", "tcp"), ("udp", "tcpmux"), ("udp", "wss")],
)
each_first = pytest.mark.parametrize("first", ["server", "client"])


@pytest.fixture
async def udp_net() -> AsyncIterator[UdpNet]:
    """Provide a net whose ends begin with transport udp, unless a test changes that."""
    async with UdpNet("udp") as net:
        yield net


class Answering:
    """A target that remembers from which addresses it was asked: one for each flow."""

    def __init__(self, net: UdpNet, port: int) -> None:
        self.askers: set[object] = set()
        self.socket = net.udp(port=port, heard=self._heard)

    def _heard(self, data: bytes, address: object) -> None:
        self.askers.add(address)
        self.socket.send(b"echo:" + data, address)


class Moving:
    """A tunnel whose transport changes, with a port for users of UDP, and of TCP if the transport carries any."""

    def __init__(self, tunnel: Tunnel, target: Answering) -> None:
        self.tunnel, self.target = tunnel, target
        self.net: UdpNet = tunnel.net  # type: ignore[assignment]

    @classmethod
    async def start(cls, net: UdpNet, transport: str, lines: str = "accept_udp = true") -> "Moving":
        """Start both ends."""
        net.transport = transport
        target = Answering(net, await net.echo())
        return cls(await net.tunnel(target.socket.port, server=lines), target)

    async def to(self, transport: str, first: str = "server") -> None:
        """Reload both ends, and wait until they have met again."""
        server, client = self.tunnel.server, self.tunnel.client
        if first == "client":
            await change(client, transport=transport)
        await change(server, transport=transport, **TLS)
        if first == "server":
            await until(lambda: not client.session().connected)
            await change(client, transport=transport)
        await self.met(transport)

    async def to_address(self, host: str, met_at: str) -> None:
        """Reload both ends to another address of the same port, and wait until they have met again."""
        server, client = self.tunnel.server, self.tunnel.client
        await change(server, bind_addr=msgspec.structs.replace(server.config.bind_addr, host=host))
        await change(client, remote_addr=msgspec.structs.replace(client.config.remote_addr, host=met_at))
        await until(lambda: self.tunnel.connected)

    async def met(self, transport: str) -> None:
        """Wait until both ends are connected with this transport."""
        await until(lambda: self.tunnel.connected and self.tunnel.client.tunnel.config.transport == transport)

    def user(self) -> UdpPeer:
        """Return a new user of UDP."""
        return self.net.udp(self.tunnel.ports[0])

    async def flow(self) -> UdpPeer:
        """Return a user of UDP in flight."""
        user = self.user()
        await insist(user)
        return user

    async def stream(self) -> Peer:
        """Return a user of TCP in flight."""
        user = await self.tunnel.user()
        await echo(user, b"hello")
        return user


@from_and_to
@each_first
async def test_flows_outlive_a_reload_and_another_one_back(
    udp_net: UdpNet, before: str, after: str, first: str
) -> None:
    moving = await Moving.start(udp_net, before)
    user = await moving.flow()
    await moving.to(after, first)
    await insist(user)
    second = await moving.flow()
    assert len(moving.target.askers) == 2
    await moving.to(before, first)
    await insist(user)
    await insist(second)
    await moving.flow()
    assert len(moving.target.askers) == 3
    for end in (moving.tunnel.server, moving.tunnel.client):
        users = sorted(end.users(), key=lambda user: user.number)  # a late datagram changes the order of the list
        assert [user.transport for user in users] == [before, after, before]


@each_first
@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "wss"])
async def test_streams_outlive_a_reload_to_udp_which_takes_no_others(
    udp_net: UdpNet, transport: str, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    moving = await Moving.start(udp_net, transport)
    user = await moving.stream()
    await moving.to("udp", first)
    assert caplog.text.count("ports: closed for TCP; users in flight stay") == 1
    with pytest.raises(ConnectionRefusedError):
        await moving.tunnel.user()
    await echo(user, b"on the connection of before")
    await moving.to(transport, first)
    await echo(user, b"still")
    await moving.stream()


async def test_waiting_streams_are_reset_by_a_reload_to_udp(udp_net: UdpNet) -> None:
    udp_net.transport = "tcp"
    port = free_port()
    server = await udp_net.server(free_port(), [f"{HOST}:{port}=1"])
    user = await udp_net.dial(port)
    await until(lambda: server.tunnel.waiting)
    await change(server, transport="udp")
    assert not await user.closed()
    assert not server.tunnel.waiting


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "wss"])
async def test_flows_end_with_their_ports_when_the_next_transport_takes_none(
    udp_net: UdpNet, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    moving = await Moving.start(udp_net, "udp", "")
    user = await moving.flow()
    await moving.to(transport)
    assert caplog.text.count("ports: closed for UDP, their flows have ended") == 1
    assert not len(moving.tunnel.server.relay.flows)
    udp_net.udp(port=moving.tunnel.ports[0]).close()  # others may have the port
    await moving.stream()
    await moving.to("udp")
    await insist(user)


async def test_a_udp_port_of_another_program_leaves_everything_as_it_is(udp_net: UdpNet) -> None:
    moving = await Moving.start(udp_net, "tcp")
    flow, stream, before = await moving.flow(), await moving.stream(), moving.tunnel.server.config
    udp_net.udp(port=moving.tunnel.bind_port)
    with pytest.raises(BackhaulError, match="address already in use"):
        await change(moving.tunnel.server, transport="udp")
    assert moving.tunnel.server.config == before
    await moving.met("tcp")
    await insist(flow)
    await echo(stream, b"still here")
    await moving.stream()
    await moving.flow()
    assert len(moving.target.askers) == 2


@pytest.mark.parametrize("transport", ["tcpmux", "wss"])
async def test_an_unusable_configuration_leaves_udp_as_it_is(udp_net: UdpNet, transport: str) -> None:
    moving = await Moving.start(udp_net, "udp")
    flow, before = await moving.flow(), moving.tunnel.server.config
    nowhere = msgspec.structs.replace(before.bind_addr, host="192.0.2.1")  # RFC 5737: no machine has it
    with pytest.raises(BackhaulError, match="cannot assign"):
        await change(moving.tunnel.server, transport=transport, bind_addr=nowhere, **TLS)
    if transport == "wss":
        with pytest.raises(BackhaulError, match="nothing"):
            await change(moving.tunnel.server, transport=transport, **TLS | {"tls_cert": "nothing"})
    assert moving.tunnel.server.config == before
    await moving.met("udp")
    await insist(flow)
    await moving.flow()
    assert len(moving.target.askers) == 2


async def test_flows_outlive_the_way_to_another_port_and_back(udp_net: UdpNet) -> None:
    """The socket of the first port still has them when it is needed again."""
    moving = await Moving.start(udp_net, "udp")
    user, server, client = await moving.flow(), moving.tunnel.server, moving.tunnel.client
    for port in (free_port(), moving.tunnel.bind_port):
        await change(server, bind_addr=msgspec.structs.replace(server.config.bind_addr, port=port))
        await change(client, remote_addr=msgspec.structs.replace(client.config.remote_addr, port=port))
        await until(lambda: moving.tunnel.connected)
        await insist(user)
        await moving.flow()
    assert len(moving.target.askers) == 3


async def test_flows_outlive_the_way_to_another_address_of_the_same_port(udp_net: UdpNet) -> None:
    moving = await Moving.start(udp_net, "udp")
    user = await moving.flow()
    await moving.to_address("127.0.0.2", "127.0.0.2")
    await insist(user)
    await moving.flow()
    assert len(moving.target.askers) == 2


async def test_flows_whose_address_is_in_the_way_of_the_next_one_begin_again(udp_net: UdpNet) -> None:
    moving = await Moving.start(udp_net, "udp")
    user = await moving.flow()
    await moving.to_address("0.0.0.0", "127.0.0.2")
    await insist(user)
    assert len(moving.target.askers) == 2


async def test_flows_outlive_a_reload_to_an_address_that_the_machine_lacks(udp_net: UdpNet) -> None:
    moving = await Moving.start(udp_net, "udp")
    user, server = await moving.flow(), moving.tunnel.server
    nowhere = msgspec.structs.replace(server.config.bind_addr, host="192.0.2.1")  # RFC 5737: no machine has it
    with pytest.raises(BackhaulError, match="cannot assign"):
        await change(server, bind_addr=nowhere)
    await until(lambda: moving.tunnel.connected)
    await insist(user)
    assert len(moving.target.askers) == 1


async def test_flows_outlive_a_reload_to_an_address_of_another_program(udp_net: UdpNet) -> None:
    """It listens on TCP only, so the UDP socket could be opened."""
    moving = await Moving.start(udp_net, "udp")
    user, server = await moving.flow(), moving.tunnel.server
    udp_net.listen(moving.tunnel.bind_port, "127.0.0.2")
    with pytest.raises(BackhaulError, match="address already in use"):
        await change(server, bind_addr=msgspec.structs.replace(server.config.bind_addr, host=""))
    await until(lambda: moving.tunnel.connected)
    await insist(user)
    assert len(moving.target.askers) == 1


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "wss"])
async def test_flows_of_a_client_that_is_gone_begin_again_on_the_next_transport(
    udp_net: UdpNet, transport: str
) -> None:
    udp_net.patience = {"sign_of_life": 0.05, "announce": 0.02}
    moving = await Moving.start(udp_net, "udp")
    user = await moving.flow()
    await change(moving.tunnel.server, transport=transport, **TLS)
    await change(moving.tunnel.client, shutdown_timeout=0)
    await udp_net.stop(moving.tunnel.client)
    udp_net.transport = transport
    await udp_net.client(moving.tunnel.bind_port)
    await insist(user)
    assert len(moving.target.askers) == 2


async def test_a_flow_that_a_v072_client_never_answers_begins_again_on_the_next_transport(udp_net: UdpNet) -> None:
    """It has moved to another tunnel already, and would not do so again."""
    udp_net.patience = {"sign_of_life": -1.0}  # seconds; the clock may not advance
    server, bind_port, user = await our_server(udp_net)
    client = await OldClient.connect(udp_net, bind_port)
    tunnels = await idle_tunnels(udp_net, bind_port, 2)
    for data, tunnel in zip((b"one", b"two"), reversed(tunnels), strict=True):
        user.send(data)
        assert [await behind_pings(tunnel) for _ in range(2)] == [TARGET, data]
    await client.requested(2)
    await change(server, transport="tcp", accept_udp=True)
    (port,) = server.tunnel.ports.all.values()
    await repeat(lambda: user.send(b"three"), lambda: port.udp.total == 2)
    assert server.tunnel.flows.waiting == 1


async def test_sessions_without_a_connection_end_when_udp_takes_their_place(udp_net: UdpNet) -> None:
    udp_net.transport = "tcpmux"
    torn = await Torn.start(udp_net)
    user = await torn.user()
    for end in (torn.server, torn.client):
        await change(end, transport="udp")
    await echo(user, b"on the connection of before")
    await until(lambda: torn.server.session().connected and torn.client.session().connected)
    await torn.cut()
    assert not await user.closed()
    await until(lambda: not torn.resumed.parked and not torn.server.state().relay.resumption.parked)


async def test_a_socket_that_is_left_closes_with_its_last_flow(udp_net: UdpNet) -> None:
    moving = await Moving.start(udp_net, "udp")
    user = await moving.flow()
    await moving.to("tcpmux")
    await insist(user)
    moving.tunnel.server.relay.flows.bound(100, 0)
    await until(lambda: not len(moving.tunnel.server.relay.flows))
    udp_net.udp(port=moving.tunnel.bind_port)
    moving.tunnel.server.relay.flows.bound(100, 60)
    await repeat(lambda: user.send(b"again"), lambda: (b"echo:again", user.sock.getpeername()) in user.heard)
