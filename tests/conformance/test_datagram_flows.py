"""Datagrams through the tunnel, over every transport that carries them."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from tests.support.datagrams import FLOWS, UdpNet, echoing
from tests.support.inside import MUCH, used
from tests.support.net import HOST, PATIENCE, free_port, until
from tests.support.tunnel import change

from backhaul.wire.datagrams import MAX_PAYLOAD

SEQUENCE = struct.Struct("!I")


@pytest.fixture(params=FLOWS)
async def flow_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide every transport that carries datagrams; nothing may remain at the end."""
    async with UdpNet(request.param) as net:
        yield net


async def test_no_datagram_waits_for_an_acknowledgement(flow_net: UdpNet) -> None:
    """With any ``nodelay``: Nagle's algorithm would hold every second small datagram until then."""
    if flow_net.transport == "udp":
        pytest.skip("no stream carries them")
    tunnel, user = await echoing(flow_net)
    assert await user.ask(bytes(2 * MUCH)) == bytes(2 * MUCH)
    assert not tunnel.server.config.nodelay
    carriers = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in used(tunnel.bind_port)]
    assert carriers == [1, 1]


@pytest.mark.both_loops
async def test_an_echo_of_every_size(flow_net: UdpNet) -> None:
    _, user = await echoing(flow_net)
    for size in (5, 0, 1, 1200, 16378, 16379, MAX_PAYLOAD - 5, MAX_PAYLOAD):
        data = bytes([size % 256]) * size
        assert await user.ask(data) == (data if size > 1000 else b"echo:" + data)


async def test_the_first_datagrams_of_a_user_wait_for_a_carrier_in_their_order(flow_net: UdpNet) -> None:
    _, user = await echoing(flow_net)
    for number in range(20):
        user.send(b"%d" % number)
    assert [await user.receive() for _ in range(20)] == [b"echo:%d" % number for number in range(20)]


async def test_each_user_gets_their_own_answers(flow_net: UdpNet) -> None:
    tunnel, _ = await echoing(flow_net)
    users = [flow_net.udp(tunnel.ports[0]) for _ in range(50)]
    for turn in range(3):
        for number, user in enumerate(users):
            user.send(b"%d %d" % (turn, number))
        for number, user in enumerate(users):
            assert await user.receive() == b"echo:%d %d" % (turn, number)
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""].udp.flows == 50


@pytest.mark.parametrize("ends", ["server", "client"])
async def test_a_silent_flow_ends_on_both_sides_and_its_user_may_return(flow_net: UdpNet, ends: str) -> None:
    """``udp_timeout`` is short on one end; the other end would wait for a minute."""
    tunnel, user = await echoing(flow_net)
    end = getattr(tunnel, ends)
    assert await user.ask(b"one") == b"echo:one"
    end.relay.flows.bound(100, 0.05)
    await until(lambda: not len(end.relay.flows))
    if flow_net.transport != "udp":  # the other end is told at once
        await until(lambda: not len(tunnel.client.relay.flows) + len(tunnel.server.relay.flows))
    elif ends == "client":
        tunnel.server.relay.flows.bound(100, 0)  # it would end by itself only after this test
        await until(lambda: not len(tunnel.server.relay.flows))
        tunnel.server.relay.flows.bound(100, 60)
    end.relay.flows.bound(100, 60)
    assert await user.ask(b"two") == b"echo:two"


async def test_datagrams_on_their_way_arrive_while_the_client_stops(flow_net: UdpNet) -> None:
    flow_net.timings = {"settle": PATIENCE}
    tunnel, user = await echoing(flow_net)
    assert await user.ask(b"early") == b"echo:early"
    stopping = asyncio.ensure_future(flow_net.stop(tunnel.client))
    await until(lambda: not tunnel.server.tunnel.connected)
    assert await user.ask(b"late") == b"echo:late"
    tunnel.client.relay.flows.close()  # the end of the wait
    await stopping


async def test_without_a_client_a_flow_waits_and_then_its_datagrams_are_counted(flow_net: UdpNet) -> None:
    flow_net.timings = {"flow_patience": 0.05}
    port = free_port()
    server = await flow_net.server(free_port(), [f"{HOST}:{port}=7100"], FLOWS[flow_net.transport])
    listening = server.tunnel.ports.open[HOST, port, ""]
    user = flow_net.udp(port)
    user.send(b"hello?")
    await until(lambda: listening.udp.total)
    await until(lambda: not listening.udp.flows)
    assert listening.udp.dropped == 1


async def test_waiting_flows_are_carried_when_the_client_arrives(flow_net: UdpNet) -> None:
    echo, bind_port, port = flow_net.udp_echo(), free_port(), free_port()
    await flow_net.server(bind_port, [f"{HOST}:{port}={echo.port}"], FLOWS[flow_net.transport])
    users = [flow_net.udp(port) for _ in range(20)]
    for user in users:
        user.send(b"early")
    await flow_net.client(bind_port, "connection_pool = 1")
    assert [await user.receive() for user in users] == [b"echo:early"] * 20


async def test_more_waiting_flows_than_places(flow_net: UdpNet) -> None:
    port = free_port()
    lines = f"{FLOWS[flow_net.transport]}\nchannel_size = 3"
    server = await flow_net.server(free_port(), [f"{HOST}:{port}=7100"], lines)
    listening = server.tunnel.ports.open[HOST, port, ""]
    for _ in range(5):
        flow_net.udp(port).send(b"hello")
    await until(lambda: listening.udp.dropped == 2)
    assert listening.udp.flows == 3


async def test_an_address_that_floods_leaves_places_for_waiting_flows_to_others(flow_net: UdpNet) -> None:
    echo, bind_port, port = flow_net.udp_echo(), free_port(), free_port()
    lines = f"{FLOWS[flow_net.transport]}\nchannel_size = 3"
    server = await flow_net.server(bind_port, [f"0.0.0.0:{port}={echo.port}"], lines)
    (listening,) = server.tunnel.ports.open.values()
    for _ in range(5):
        flow_net.udp(port).send(b"flood")
    await until(lambda: listening.udp.dropped == 2)
    user = flow_net.udp(port, "127.0.0.2")
    user.send(b"hello")
    await until(lambda: listening.udp.dropped == 3)
    assert (listening.udp.flows, listening.udp.total) == (3, 4)
    await flow_net.client(bind_port)
    assert await user.receive() == b"echo:hello"


async def test_a_waiting_flow_keeps_the_newest_datagrams_of_its_user(flow_net: UdpNet) -> None:
    target, bind_port, port = flow_net.udp(), free_port(), free_port()
    server = await flow_net.server(bind_port, [f"{HOST}:{port}={target.port}"], FLOWS[flow_net.transport])
    listening, user = server.tunnel.ports.open[HOST, port, ""], flow_net.udp(port)
    for number in range(400):
        user.send(SEQUENCE.pack(number).ljust(1000))
    await until(lambda: listening.traffic.received.bytes == 400_000)
    dropped = listening.udp.dropped
    assert 100 < dropped < 200
    await flow_net.client(bind_port)
    numbers = [SEQUENCE.unpack_from(await target.receive())[0] for _ in range(400 - dropped)]
    assert numbers == list(range(dropped, 400))


async def test_a_target_that_starts_late_is_reached_by_the_same_flow(flow_net: UdpNet) -> None:
    target_port = free_port()
    tunnel = await flow_net.flows(target_port)
    user = flow_net.udp(tunnel.ports[0])
    user.send(b"nobody there")
    await until(lambda: len(tunnel.client.relay.flows))
    echo = flow_net.udp_echo(port=target_port)

    def asked() -> int:
        user.send(b"again")
        return echo.count

    await until(asked)
    while not (await user.receive()).endswith(b"again"):
        pass  # the first datagram may have been on its way when the target started
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""].udp.total == 1


async def test_names_and_ipv6_addresses_are_targets_too(flow_net: UdpNet) -> None:
    echo, echo6 = flow_net.udp_echo(), flow_net.udp_echo("::1")
    tunnel = await flow_net.flows(f"localhost:{echo.port}", f"[::1]:{echo6.port}")
    for port in tunnel.ports:
        assert await flow_net.udp(port).ask(b"hello") == b"echo:hello"


async def test_users_over_ipv6(flow_net: UdpNet) -> None:
    tunnel = await flow_net.flows(flow_net.udp_echo().port, user_host="::1")
    assert await flow_net.udp(tunnel.ports[0], "::1").ask(b"hello") == b"echo:hello"


async def test_an_unknown_target_is_one_line_in_the_log(flow_net: UdpNet, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await flow_net.flows("no.such.name.invalid:53")
    user = flow_net.udp(tunnel.ports[0])
    user.send(b"secret payload")
    await until(lambda: "target no.such.name.invalid:53: cannot be reached" in caplog.text)
    assert "secret" not in caplog.text
    assert not len(tunnel.client.relay.flows)


async def test_flows_survive_the_loss_of_the_control_channel(flow_net: UdpNet) -> None:
    tunnel, user = await echoing(flow_net)
    assert await user.ask(b"before") == b"echo:before"
    tunnel.client.tunnel.control_lost("this test")
    await until(lambda: not tunnel.connected)
    assert await user.ask(b"meanwhile") == b"echo:meanwhile"
    await until(lambda: tunnel.connected)
    assert await user.ask(b"after") == b"echo:after"
    assert await flow_net.udp(tunnel.ports[0]).ask(b"new") == b"echo:new"
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""].udp.total == 2


async def test_a_closed_port_ends_its_flows(flow_net: UdpNet) -> None:
    tunnel, user = await echoing(flow_net)
    assert await user.ask(b"hello") == b"echo:hello"
    await change(tunnel.server, ports=())
    assert not len(tunnel.server.relay.flows)


async def test_a_taken_port_is_reported_and_the_others_open(flow_net: UdpNet) -> None:
    taken, free = flow_net.udp(), free_port()
    server = await flow_net.server(
        free_port(), [f"{HOST}:{taken.port}=1", f"{HOST}:{free}=1"], FLOWS[flow_net.transport]
    )
    assert list(server.tunnel.ports.open) == [(HOST, free, "")]
