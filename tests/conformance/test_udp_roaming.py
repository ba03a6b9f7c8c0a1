"""Transport udp while addresses and control channels change: the same flow, from the same user to the same target."""

import contextlib

import pytest
from tests.support.apart import Namespace, separable
from tests.support.datagrams import UdpNet, UdpPeer, repeat
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Tunnel, change
from tests.support.udp_clients import insist
from tests.support.udp_line import ProtectedNet, Scene, announced, heard, through_a_nat

from backhaul.net.udp import DatagramSocket
from backhaul.wire.announcements import IDLE, Announcement

NEVER, QUICK = 3600.0, 0.02  # seconds


@pytest.fixture(params=["", "encryption = true"], ids=["protected", "encrypted"])
def lines(request: pytest.FixtureRequest) -> str:
    """Run each test without encryption of users' datagrams, and with it."""
    return str(request.param)


class Service:
    """A service that answers each of its peers, and sends to all of them when it wants, as WireGuard does."""

    def __init__(self, net: UdpNet) -> None:
        self.peers: set[object] = set()
        self.socket = net.udp(heard=self._heard)

    def _heard(self, data: bytes, address: object) -> None:
        self.peers.add(address)
        self.socket.send(b"echo:" + data, address)

    def push(self) -> None:
        """Send to all peers."""
        for peer in self.peers:
            self.socket.send(b"news", peer)


class Flow:
    """The flow of one user to a service, through a NAT."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.service = Service(scene.net)
        self.user = scene.another_user(self.service.socket.port)

    @property
    def tunnel(self) -> Tunnel:
        """Both ends."""
        return self.scene.tunnel

    async def goes_on(self) -> None:
        """Assert that the user is answered, in the same flow and by the same socket of the client."""
        await goes_on(self.user, self.service)

    async def is_answered(self) -> None:
        """Assert that the next datagram of the user is answered, after late answers to others."""
        self.user.send(b"again")
        while await self.user.receive() != b"echo:again":
            pass

    async def reconnects(self) -> None:
        """Wait for both ends, with two idle tunnels."""
        await until(lambda: self.tunnel.connected and self.tunnel.server.tunnel.transport.idle == 2)


def is_idle(announcement: Announcement | None) -> bool:
    """Return False for the announcement of a tunnel that has a flow."""
    return not announcement or announcement.number == IDLE


async def goes_on(user: UdpPeer, service: Service) -> None:
    await insist(user)
    assert len(service.peers) == 1


async def flow_of(net: ProtectedNet) -> Flow:
    flow = Flow(await through_a_nat(net))
    await until(lambda: flow.tunnel.server.tunnel.transport.idle == 2)
    assert await flow.user.ask(b"?") == b"echo:?"
    await flow.reconnects()
    return flow


async def test_a_target_that_sends_shows_the_new_address_at_once(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": NEVER, "unheard": QUICK}
        flow = await flow_of(net)
        flow.tunnel.client.tunnel.transport.announce()  # the last regular one
        await flow.is_answered()
        flow.scene.nat.rebind()
        await repeat(flow.service.push, lambda: flow.user.heard)
        await flow.goes_on()


async def test_a_flow_outlives_its_control_channel(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        flow = await flow_of(net)
        flow.tunnel.client.tunnel.control_lost("this test")
        await until(lambda: not flow.tunnel.connected)
        await flow.goes_on()
        await flow.reconnects()
        await flow.goes_on()


async def test_a_flow_stays_on_its_tunnel_when_the_same_client_connects_again(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"sign_of_life": NEVER, "replaced": -1.0}
        flow = await flow_of(net)
        flow.tunnel.client.tunnel.control_lost("this test")
        await until(lambda: not flow.tunnel.connected)
        await flow.reconnects()
        for _ in range(3):
            await flow.is_answered()
        assert len(flow.service.peers) == 1


async def test_a_flow_follows_an_address_that_changes_while_there_is_no_control_channel(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK}
        flow = await flow_of(net)
        await flow.scene.control.close()
        await until(lambda: not flow.tunnel.server.tunnel.connected and not flow.tunnel.client.tunnel.connected)
        flow.scene.nat.rebind()
        await flow.goes_on()


async def replaced(flow: Flow, times: int) -> None:
    """Replace the client's transport so many times by another one; the flow stays on the first."""
    client = flow.tunnel.client
    for seconds in range(61, 61 + times):
        await change(client, keepalive_period=seconds)
        await until(lambda: client.tunnel.config.keepalive_period == client.config.keepalive_period)
        await flow.reconnects()


async def test_a_flow_follows_an_address_however_often_its_transport_has_been_replaced(lines: str) -> None:
    """The former transport announces it with the keys of its own last session."""
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK}
        flow = await flow_of(net)
        await replaced(flow, times=4)
        flow.scene.nat.rebind()
        await flow.goes_on()


async def test_announcements_of_former_transports_are_no_datagrams_of_users(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK}
        flow = await flow_of(net)
        await replaced(flow, times=4)
        seen = len(flow.scene.nat.sent)
        await until(lambda: len(flow.scene.nat.sent) > seen + 50)
        flow.user.send(b"?")
        assert await flow.user.receive() == b"echo:?"
        assert not flow.user.heard


async def test_a_client_that_returns_gets_time_to_announce_its_flows(lines: str) -> None:
    """Its idle tunnels are announced first, and the user has sent in vain for long."""
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK, "sign_of_life": -1.0, "unheard": NEVER}
        flow = await flow_of(net)
        server = flow.tunnel.server

        def without_confirmations(data: bytes) -> int:
            session = server.tunnel.transport.session
            return int(not session.connected or is_idle(heard(server, data)))

        flow.scene.nat.upwards = lambda _: 0
        received = flow.service.socket.count
        flow.user.send(b"in vain")
        await until(lambda: flow.service.socket.count == received + 1)
        flow.tunnel.client.tunnel.control_lost("this test")
        await until(lambda: not flow.tunnel.connected)
        flow.scene.nat.upwards = without_confirmations
        await flow.reconnects()
        await flow.is_answered()
        assert len(flow.service.peers) == 1


async def test_an_announcement_of_an_older_session_does_not_move_a_tunnel(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK}
        flow = await flow_of(net)
        server = flow.tunnel.server
        known = [heard(server, data) for data in flow.scene.nat.sent]
        held_back = [announced(server, one, newer=at) for at, one in enumerate(known) if one and not is_idle(one)]
        assert held_back
        flow.tunnel.client.tunnel.control_lost("this test")
        await until(lambda: not flow.tunnel.connected)
        await flow.reconnects()
        sent = len(flow.scene.nat.sent)
        await until(lambda: any(not is_idle(heard(server, data)) for data in flow.scene.nat.sent[sent:]))
        await flow.goes_on()
        stranger = net.udp(flow.tunnel.bind_port)
        for data in held_back:
            stranger.send(data)
        for _ in range(3):
            await flow.is_answered()
        assert not stranger.count


async def test_a_flow_keeps_its_socket_if_the_kernel_can_not_watch_another(
    lines: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tunnel that may be dead gets another socket with the next control channel."""
    pollers = list[ExhaustedPoller]()

    def make() -> ExhaustedPoller:
        pollers.append(ExhaustedPoller(lambda _owner: False))
        return pollers[0]

    monkeypatch.setattr("backhaul.client.make_poller", make)
    async with ProtectedNet(lines) as net:
        flow = await flow_of(net)
        client = flow.tunnel.client.tunnel
        client.transport.probe()
        pollers[0].short = lambda owner: isinstance(owner, DatagramSocket) and not pollers[0].refused
        client.control_lost("this test")
        await until(lambda: pollers[0].refused)
        await flow.is_answered()
        await flow.goes_on()


@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_flow_outlives_a_reload_that_rebuilds_the_tunnel(lines: str, end: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": QUICK}
        flow = await flow_of(net)
        opened = flow.tunnel.server.tunnel.opened
        await change(getattr(flow.tunnel, end), keepalive_period=33)
        await until(lambda: flow.tunnel.server.tunnel.opened > opened)
        await flow.goes_on()
        await flow.reconnects()
        await flow.goes_on()
        flow.scene.nat.rebind()
        await flow.goes_on()


@pytest.mark.skipif(not separable(), reason="needs a network namespace")
async def test_a_flow_follows_the_client_to_another_address_of_its_machine(lines: str) -> None:
    server_ip, before, after = "10.9.0.1", "10.9.0.2", "10.9.0.3"
    with contextlib.closing(Namespace()) as space:
        await until(lambda: space.ready)
        with space.entered():
            space.run("ip link set lo up")
            for ip in (server_ip, before, after):
                space.run(f"ip addr add {ip}/32 dev lo")
            way = f"local {server_ip} dev lo table local proto kernel scope host"
            space.run(f"ip route replace {way} src {before}")
            async with ProtectedNet(lines) as net:
                net.patience = {"announce": QUICK}
                service, bind_port, port = Service(net), free_port(), free_port()
                server = await net.server(bind_port, [f"{HOST}:{port}={service.socket.port}"], host=server_ip)
                client = await net.client(bind_port, host=server_ip)
                await until(lambda: server.tunnel.connected and client.tunnel.connected)
                user = net.udp(port)
                assert await user.ask(b"?") == b"echo:?"
                space.run(f"ip route replace {way} src {after}")
                space.run(f"ip addr del {before}/32 dev lo")
                await goes_on(user, service)


async def test_a_flow_leaves_a_tunnel_that_the_client_has_closed_before_it_knew(lines: str) -> None:
    """The client loses its control channel while the assignment is under way; the user sends a single datagram."""
    async with ProtectedNet(lines) as net:
        net.patience = {"sign_of_life": NEVER}
        scene = await through_a_nat(net)
        server = scene.tunnel.server.tunnel
        await until(lambda: server.transport.idle == 2)
        scene.nat.holding = True
        scene.user.send(b"?")
        await until(lambda: scene.flows == 1)
        scene.tunnel.client.tunnel.control_lost("this test")
        await until(lambda: not scene.tunnel.connected)
        scene.nat.holding = False
        assert await scene.user.receive() == b"echo:?"


async def test_a_flow_gets_what_was_sent_to_an_address_that_a_nat_has_replaced(lines: str) -> None:
    """The tunnel is idle until then; the user sends a single datagram."""
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": NEVER, "sign_of_life": NEVER}
        scene = await through_a_nat(net)
        await until(lambda: scene.tunnel.server.tunnel.transport.idle == 2)
        scene.nat.rebind()
        scene.user.send(b"?")
        await until(lambda: scene.flows == 1)
        scene.tunnel.client.tunnel.doubt()
        assert await scene.user.receive() == b"echo:?"


async def test_a_flow_leaves_an_address_whose_datagrams_a_router_drops_for_ever(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.timings = {"suspicion": 0.1}
        flow = await flow_of(net)
        flow.scene.nat.freeze()
        flow.scene.control.paths[-1].freeze()
        flow.tunnel.client.tunnel.doubt()
        await flow.goes_on()
        assert flow.tunnel.client.tunnel.opened > 1
