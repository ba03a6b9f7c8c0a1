"""Transport udp with this program at both ends, on a network that loses, repeats, and changes addresses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.datagrams import Nat, UdpNet, UdpPeer, repeat
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Tunnel

from backhaul.relay.flows import Flow
from backhaul.wire.announcements import ANNOUNCEMENT_SIZE


@dataclass
class Scene:
    """A tunnel through a NAT, and a user of it."""

    tunnel: Tunnel
    nat: Nat
    echo: UdpPeer
    user: UdpPeer

    @property
    def flow(self) -> Flow:
        """The server's only flow."""
        (flow,) = self.tunnel.server.relay.flows._flows
        return flow


async def through_a_nat(net: UdpNet, upwards: Callable[[bytes], int] | None = None) -> Scene:
    bind_port, port, echo = free_port(), free_port(), net.udp_echo()
    server = await net.server(bind_port, [f"{HOST}:{port}={echo.port}"])
    control = net.middlebox(bind_port)
    nat = Nat(net, control.port, bind_port)
    nat.upwards = upwards or nat.upwards
    client = await net.client(control.port, "connection_pool = 2")
    tunnel = Tunnel(server, client, bind_port, [port], net)
    await until(lambda: tunnel.connected)
    return Scene(tunnel, nat, echo, net.udp(port))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the interval of announcements."""
    monkeypatch.setattr("backhaul.transports.carriers.udp_client.ANNOUNCE_EVERY", 0.02)


async def insist(user: UdpPeer, data: bytes) -> bytes:
    """Repeat a request until an answer arrives."""
    user.heard.clear()
    await repeat(lambda: user.send(data), lambda: user.heard)
    return await user.receive()


async def test_a_nat_that_changes_its_addresses_while_a_flow_is_open(quick: None) -> None:
    async with UdpNet("udp") as net:
        scene = await through_a_nat(net)
        assert await scene.user.ask(b"before") == b"echo:before"
        flow = scene.flow
        for turn in (b"one", b"two"):
            scene.nat.rebind()
            assert await insist(scene.user, turn) == b"echo:" + turn
        assert scene.flow is flow
        assert len(scene.tunnel.client.relay.flows) == 1


async def test_a_nat_that_changes_its_addresses_while_only_the_target_sends(quick: None) -> None:
    async with UdpNet("udp") as net:
        scene = await through_a_nat(net)
        target = net.udp()
        port = free_port()
        mappings = [type(mapping)(HOST, port, str(target.port)) for mapping in scene.tunnel.server.config.ports]
        scene.tunnel.server.tunnel.ports.add(mappings)
        user = net.udp(port)
        user.send(b"subscribe")
        _, address = await target.receive_from()
        scene.nat.rebind()
        await repeat(lambda: target.send(b"news", address), lambda: user.heard)


async def test_idle_tunnels_follow_a_nat_too(quick: None) -> None:
    async with UdpNet("udp") as net:
        scene = await through_a_nat(net)
        transport: Any = scene.tunnel.server.tunnel._transport
        await until(lambda: transport.idle == 2)
        before = set(transport._by_address)
        scene.nat.rebind()
        await until(lambda: not before & set(transport._by_address))
        assert transport.idle == 2
        assert await scene.user.ask(b"hello") == b"echo:hello"


async def test_lost_assignments_are_repeated_and_no_payload_counts_as_one() -> None:
    async with UdpNet("udp") as net:
        scene = await through_a_nat(net)
        target = b"%d" % scene.echo.port
        lost: list[bytes] = []

        def lose_three(data: bytes) -> int:
            if data.endswith(target) and len(lost) < 3:
                lost.append(data)
                return 0
            return 1

        scene.nat.downwards = lose_three
        assert await insist(scene.user, b"127.0.0.1:1") == b"echo:127.0.0.1:1"
        assert len(lost) == 3
        assert scene.tunnel.server.tunnel.ports.open[HOST, scene.tunnel.ports[0]].udp.total == 1


async def test_repeats_and_losses_let_no_message_of_the_tunnel_through(quick: None) -> None:
    """Every datagram arrives three times, except the first confirmation of an assignment, which is lost."""
    async with UdpNet("udp") as net:
        confirmations: list[bytes] = []

        def upwards(data: bytes) -> int:
            if len(data) == ANNOUNCEMENT_SIZE and data[-1] and not confirmations:
                confirmations.append(data)
                return 0
            return 3

        scene = await through_a_nat(net, upwards)
        target = net.udp()
        mappings = [type(mapping)(HOST, free_port(), str(target.port)) for mapping in scene.tunnel.server.config.ports]
        scene.tunnel.server.tunnel.ports.add(mappings)
        user = net.udp(mappings[0].bind_port)
        scene.nat.downwards = lambda _: 3
        heard: set[bytes] = set()
        for turn in range(20):
            user.send(b"question %d" % turn)
            data, address = await target.receive_from()
            heard.add(data)
            target.send(b"answer %d" % turn, address)
            assert (await user.receive()).startswith(b"answer")
        heard |= {data for data, _ in target.heard}
        assert confirmations
        assert all(data.startswith(b"question") for data in heard)
        assert all(data.startswith(b"answer") for data, _ in user.heard)


async def test_another_client_takes_over_and_flows_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.transports.carriers.udp_server.SIGN_OF_LIFE", -1.0)
    async with UdpNet("udp") as net:
        echo = net.udp_echo()
        tunnel = await net.flows(echo.port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        await net.stop(tunnel.client)
        await net.client(tunnel.bind_port)
        await until(lambda: tunnel.server.tunnel.connected)
        assert await insist(user, b"after") == b"echo:after"
        assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0]].udp.total == 1


async def test_a_server_that_returns_gets_new_tunnels() -> None:
    async with UdpNet("udp") as net:
        echo = net.udp_echo()
        tunnel = await net.flows(echo.port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        await net.stop(tunnel.server)
        await net.server(tunnel.bind_port, [f"{HOST}:{tunnel.ports[0]}={echo.port}"])
        assert await insist(user, b"after") == b"echo:after"


async def test_a_reused_address_belongs_to_the_new_tunnel() -> None:
    """A NAT gives the port of a flow to another tunnel, fresh or moved; neither flow gets the other's datagrams."""
    async with UdpNet("udp") as net:
        scene = await through_a_nat(net)
        assert await scene.user.ask(b"hello") == b"echo:hello"
        transport: Any = scene.tunnel.server.tunnel._transport
        taken = next(tunnel for tunnel in transport._by_address.values() if tunnel.flow)
        announcement = transport.session.ticket + b"a tunnel" + b"\0"
        transport._received([announcement, b"datagram"], taken.address)
        assert not len(scene.tunnel.server.relay.flows)
        assert transport._by_address[taken.address].name == b"a tunnel"
        assert not scene.user.heard
        (other,) = (tunnel for tunnel in transport._idle if tunnel.name != b"a tunnel")
        transport._received([announcement], other.address)
        assert transport._by_address[other.address].name == b"a tunnel"
        assert transport.idle == len(transport._by_address) == len(transport._by_name) == 1


async def test_a_tunnel_opened_without_a_network_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with UdpNet("udp") as net:
        tunnel = await net.flows(net.udp_echo().port, client="connection_pool = 1")
        transport: Any = tunnel.client.tunnel._transport
        server = transport._server
        transport._server = ("255.255.255.255", 1)
        transport.open()
        assert transport.idle == 1
        transport._server = server
        assert await net.udp(tunnel.ports[0]).ask(b"hello") == b"echo:hello"
