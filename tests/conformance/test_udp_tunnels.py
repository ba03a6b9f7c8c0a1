"""Transport udp in a protected session, on a network that loses, repeats, and changes addresses."""

import contextlib
import resource
import socket
import struct
from collections.abc import Iterator

import pytest
from tests.support.datagrams import UdpPeer, repeat
from tests.support.net import HOST, free_port, until
from tests.support.udp_line import ProtectedNet, announced, heard, through_a_nat

from backhaul.wire.announcements import IDLE, Announcement

UDP_SEGMENT = 103  # <linux/udp.h>; missing in the socket module


@pytest.fixture(params=["", "encryption = true"], ids=["protected", "encrypted"])
def lines(request: pytest.FixtureRequest) -> str:
    """Run each test without encryption of users' datagrams, and with it."""
    return str(request.param)


LONGEST_DATA = 40  # bytes, of these tests

QUICK = {"announce": 0.02}  # shortens the interval of announcements


async def insist(user: UdpPeer, data: bytes) -> None:
    """Repeat a request until its answer arrives; more answers to an earlier one may come before."""
    await repeat(lambda: user.send(data), lambda: any(answer == b"echo:" + data for answer, _ in user.heard))


async def test_a_nat_that_changes_its_addresses_while_a_flow_is_open(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = QUICK
        scene = await through_a_nat(net)
        assert await scene.user.ask(b"before") == b"echo:before"
        for turn in (b"one", b"two"):
            scene.nat.rebind()
            await insist(scene.user, turn)
        assert scene.flows == 1
        assert len(scene.tunnel.client.relay.flows) == 1


async def test_a_nat_that_changes_its_addresses_while_only_the_target_sends(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = QUICK
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


async def test_idle_tunnels_follow_a_nat_too(lines: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "backhaul.tunnel")
    async with ProtectedNet(lines) as net:
        net.patience = QUICK
        scene = await through_a_nat(net)
        transport = scene.tunnel.server.tunnel.transport
        await until(lambda: transport.idle == 2)
        scene.nat.rebind()
        await until(lambda: caplog.text.count("a tunnel has moved to another address") == 2)
        assert transport.idle == 2
        assert await scene.user.ask(b"hello") == b"echo:hello"


async def test_lost_announcements_are_repeated_before_the_interval_begins(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": 3600.0}
        scene = await through_a_nat(net, lost=4)
        await until(lambda: scene.tunnel.server.tunnel.transport.idle == 2)


async def test_lost_assignments_are_repeated_and_no_payload_counts_as_one(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await through_a_nat(net)
        lost: list[bytes] = []

        def lose_three(data: bytes) -> int:
            if len(data) > LONGEST_DATA and len(lost) < 3:
                lost.append(data)
                return 0
            return 1

        scene.nat.downwards = lose_three
        await insist(scene.user, b"127.0.0.1:1")
        assert len(lost) == 3
        assert scene.tunnel.server.tunnel.ports.open[HOST, scene.tunnel.ports[0], ""].udp.total == 1


async def test_repeats_and_losses_let_no_message_of_the_tunnel_through(lines: str) -> None:
    """Every datagram arrives three times, except the first confirmation of an assignment, which is lost."""
    async with ProtectedNet(lines) as net:
        net.patience = QUICK
        scene = await through_a_nat(net)
        confirmations: list[bytes] = []

        def upwards(data: bytes) -> int:
            announcement = heard(scene.tunnel.server, data)
            if announcement and announcement.number != IDLE and not confirmations:
                confirmations.append(data)
                return 0
            return 3

        scene.nat.upwards = upwards
        target = net.udp()
        mappings = [type(mapping)(HOST, free_port(), str(target.port)) for mapping in scene.tunnel.server.config.ports]
        scene.tunnel.server.tunnel.ports.add(mappings)
        user = net.udp(mappings[0].bind_port)
        scene.nat.downwards = lambda _: 3
        arrived: set[bytes] = set()
        for turn in range(20):
            user.send(b"question %d" % turn)
            data, address = await target.receive_from()
            arrived.add(data)
            target.send(b"answer %d" % turn, address)
            assert (await user.receive()).startswith(b"answer")
        arrived |= {data for data, _ in target.heard}
        assert confirmations
        assert all(data.startswith(b"question") for data in arrived)
        assert all(data.startswith(b"answer") for data, _ in user.heard)


async def test_another_client_takes_over_and_flows_follow_it(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"sign_of_life": -1.0}
        echo = net.udp_echo()
        tunnel = await net.flows(echo.port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        await net.stop(tunnel.client)
        await net.client(tunnel.bind_port)
        await until(lambda: tunnel.server.tunnel.connected)
        await insist(user, b"after")
        assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""].udp.total == 1


async def test_flows_follow_a_client_that_was_started_again_without_the_usual_patience(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"sign_of_life": 3600.0, "replaced": -1.0}  # seconds; the clock may not advance
        tunnel = await net.flows(net.udp_echo().port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        await net.stop(tunnel.client)
        await net.client(tunnel.bind_port)
        await insist(user, b"after")
        assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""].udp.total == 1


async def test_a_server_that_returns_gets_new_tunnels(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        echo = net.udp_echo()
        tunnel = await net.flows(echo.port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        await net.stop(tunnel.server)
        await net.server(tunnel.bind_port, [f"{HOST}:{tunnel.ports[0]}={echo.port}"])
        await insist(user, b"after")


async def test_a_reused_address_belongs_to_the_new_tunnel(lines: str) -> None:
    """A NAT gives the port of a flow to another tunnel, fresh or moved; neither flow gets the other's datagrams."""
    async with ProtectedNet(lines) as net:
        scene = await through_a_nat(net)
        transport, flows = scene.tunnel.server.tunnel.transport, scene.tunnel.server.relay.flows
        await until(lambda: transport.idle == 2)
        assert await scene.user.ask(b"hello") == b"echo:hello"
        await until(lambda: transport.idle == 2)  # another one has taken the place of the one in use
        taken, *others = sorted(scene.nat.outside, key=lambda end: -end.count)
        announcement = announced(scene.tunnel.server, Announcement(b"a tunnel", IDLE))
        send_at_once(taken.sock, announcement, b"datagram")
        await until(lambda: not len(flows))
        assert transport.idle == 3
        assert not scene.user.heard

        others[0].send(announced(scene.tunnel.server, Announcement(b"a tunnel", IDLE), newer=1))
        await until(lambda: transport.idle == 2)
        before = [end.count for end in scene.nat.outside]
        scene.user.send(b"again")  # to the one with the last sign of life
        await until(lambda: others[0].count > before[scene.nat.outside.index(others[0])])
        assert taken.count == before[scene.nat.outside.index(taken)]


def send_at_once(sock: socket.socket, first: bytes, last: bytes) -> None:
    """Send two datagrams, of which the last is no longer, that arrive in one read."""
    sock.sendmsg([first, last], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", len(first)))])


async def test_without_a_socket_no_tunnel_is_opened_and_the_others_serve(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        tunnel = await net.flows(net.udp_echo().port, client="connection_pool = 1")
        transport = tunnel.client.tunnel.transport
        await until(lambda: transport.idle == 1)
        with no_more_descriptors():
            transport.open()
        assert transport.idle == 1
        assert await net.udp(tunnel.ports[0]).ask(b"hello") == b"echo:hello"


@contextlib.contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Have this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
