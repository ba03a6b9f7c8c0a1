"""Datagrams through the tunnel, over every transport that carries them."""

import asyncio
import gc
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.datagrams import FLOWS, Sources, UdpNet, UdpPeer, repeat
from tests.support.inside import MUCH, used
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Tunnel

from backhaul.wire.datagrams import MAX_PAYLOAD

EXPIRING = 600  # flows that begin and end again and again: a leak of one object for every tenth of them would show
WARM_UP = 2  # times, after which the caches of addresses, of a thousand each, are full
GROUP = 10  # sources
TURNS = 4  # at most, that are measured
IDLE_BLOCKS = 12  # objects of an idle tunnel on one end, and some
SESSION_BLOCKS = 2  # by which what a session keeps for its peer differs from one moment to another
SEQUENCE = struct.Struct("!I")


@pytest.fixture(params=FLOWS)
async def flow_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide every transport that carries datagrams; nothing may remain at the end."""
    async with UdpNet(request.param) as net:
        yield net


# One transport for each way to carry and frame datagrams: with TLS they only take longer.
@pytest.fixture(params=["udp", "tcp", "tcpmux", "ws"])
async def busy_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide the transports that are tested with a multitude of sources or datagrams."""
    async with UdpNet(request.param) as net:
        yield net


async def echoing(net: UdpNet, server: str = "", client: str = "") -> tuple[Tunnel, UdpPeer]:
    """Return a tunnel to an echo, and a user of it."""
    tunnel = await net.flows(net.udp_echo().port, server=server, client=client)
    return tunnel, net.udp(tunnel.ports[0])


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
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0]].udp.flows == 50


async def all_answered(sources: Sources, waiting: set[int]) -> None:
    """Wait until each of these sources has received its own answer."""

    def look() -> bool:
        while found := sources.receive():
            number, data = found
            assert data == b"echo:%d" % number
            waiting.discard(number)
        return not waiting

    await until(look)


async def ask_all(sources: Sources, numbers: range, address: tuple[str, int]) -> None:
    """Send from each of these sources, in groups too small to push each other out, and wait for the answers."""
    for first in numbers[::GROUP]:
        asking = range(first, first + GROUP)
        for number in asking:
            sources.send(number, b"%d" % number, address)
        await all_answered(sources, set(asking))


async def test_twenty_times_more_sources_than_places(busy_net: UdpNet) -> None:
    """All are served, and the number of remembered flows stays within the limit."""
    tunnel, _ = await echoing(busy_net, "udp_max_flows = 50", "udp_max_flows = 50\nconnection_pool = 64")
    await ask_all(busy_net.sources(), range(1000), (HOST, tunnel.ports[0]))
    assert len(tunnel.server.relay.flows) <= 50
    assert len(tunnel.client.relay.flows) <= 50


async def test_a_flood_of_spoofed_sources_costs_neither_memory_nor_the_tunnel(busy_net: UdpNet) -> None:
    tunnel, user = await echoing(busy_net, "udp_max_flows = 100\nchannel_size = 70", "udp_max_flows = 100")
    sources, address = busy_net.sources(), (HOST, tunnel.ports[0])
    listening = tunnel.server.tunnel.ports.open[address]
    assert await user.ask(b"before") == b"echo:before"

    async def flood(count: int) -> None:
        for number in range(0, count, 50):
            for source in range(number, number + 50):
                sources.send(source, bytes(4000), address)
            user.send(b"meanwhile")  # the client of transport udp would end a silent flow without a message
            await asyncio.sleep(0)  # both ends are in this process
            while sources.receive():
                pass

    await flood(1_000)
    before = resident()
    await flood(2_000)
    assert resident() - before < 4 << 20  # half of the datagrams sent
    assert len(tunnel.server.relay.flows) <= 100
    assert len(tunnel.client.relay.flows) <= 100
    assert listening.udp.dropped > 0 or busy_net.transport == "tcpmux"  # where a stream always has room
    assert tunnel.connected
    transport = tunnel.server.tunnel.transport
    await until(lambda: transport.idle or busy_net.transport == "tcpmux")  # where no connection must be idle
    await repeat(lambda: user.send(b"after"), lambda: b"echo:after" in dict(user.heard))


async def test_ended_flows_leave_nothing_behind(busy_net: UdpNet) -> None:
    limit = 100
    lines = f"udp_max_flows = {limit}"
    tunnel, _ = await echoing(busy_net, lines, f"{lines}\nconnection_pool = 64")
    ends, address, sources = (tunnel.server, tunnel.client), (HOST, tunnel.ports[0]), busy_net.sources()

    async def open_and_expire(numbers: range) -> None:
        await ask_all(sources, numbers, address)
        for end in ends:
            end.relay.flows.bound(limit, 0)
        await until(lambda: not any(len(end.relay.flows) for end in ends))
        await until(lambda: not any(link.streams for end in ends for link in end.relay.state().links))
        await until(lambda: not any(link.spooled for end in ends for link in end.relay.state().links))
        await until(lambda: not tunnel.client.tunnel.transport.opening)
        await until(lambda: len({end.tunnel.transport.idle for end in ends}) == 1)
        await until(lambda: not any(len(end.relay.poller.lingering) for end in ends))
        for end in ends:
            end.relay.flows.bound(limit, 60)

    async def left_behind(turn: int) -> bool:
        """Return whether a turn has left more than its connections explain."""
        before = Left.now(tunnel)
        await open_and_expire(range(turn * EXPIRING, (turn + 1) * EXPIRING))
        return Left.now(tunnel).exceeds(before, tunnel)

    for turn in range(WARM_UP):
        await left_behind(turn)
    for turn in range(WARM_UP, WARM_UP + TURNS):
        if not await left_behind(turn):
            break
    else:  # connections of other kinds than before explain a single turn, and only a leak all of them
        pytest.fail(f"each of {TURNS} turns has left something behind")
    assert tunnel.server.tunnel.ports.open[address].udp.total == (turn + 1) * EXPIRING


class Left(NamedTuple):
    """The belongings of this process when all flows have ended."""

    files: int
    blocks: int
    memory: int
    idle: int

    @classmethod
    def now(cls, tunnel: Tunnel) -> "Left":
        gc.collect()
        return cls(open_files(), sys.getallocatedblocks(), resident(), idle(tunnel))

    def exceeds(self, before: "Left", tunnel: Tunnel) -> bool:
        """Return whether there is more than before, beyond what idle connections and sessions take."""
        sessions = sum(len(end.relay.state().links) for end in (tunnel.server, tunnel.client))
        more = self.idle - before.idle  # the pool is larger after some bursts than after others
        return (
            self.files > before.files + more + 2 * sessions
            or self.blocks - before.blocks >= EXPIRING // 10 + IDLE_BLOCKS * more + SESSION_BLOCKS * sessions
            or self.memory - before.memory >= 4 << 20
        )


def idle(tunnel: Tunnel) -> int:
    """Count the idle tunnels on both ends."""
    return tunnel.server.tunnel.transport.idle + tunnel.client.tunnel.transport.idle


def open_files() -> int:
    """Count the descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_virtual_private_network(busy_net: UdpNet) -> None:
    """Numbered datagrams of 1200 to 1400 bytes, both ways at a time, arrive once and in order."""
    target = busy_net.udp()
    tunnel = await busy_net.flows(target.port)
    user = busy_net.udp(tunnel.ports[0])
    user.send(b"hello")
    _, far_address = await target.receive_from()
    count, size = 6000, random.Random(7)  # noqa: S311 - no secret
    up, down = [], []
    for first in range(0, count, 20):
        for number in range(first, first + 20):
            user.send(SEQUENCE.pack(number).ljust(size.randrange(1200, 1400), b"u"))
            target.send(SEQUENCE.pack(number).ljust(size.randrange(1200, 1400), b"d"), far_address)
        up += [await target.receive() for _ in range(20)]
        down += [await user.receive() for _ in range(20)]
    assert [SEQUENCE.unpack_from(datagram)[0] for datagram in up] == list(range(count))
    assert [SEQUENCE.unpack_from(datagram)[0] for datagram in down] == list(range(count))
    assert all(1200 <= len(datagram) < 1400 for datagram in (*up, *down))


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


async def test_without_a_client_a_flow_waits_and_then_its_datagrams_are_counted(flow_net: UdpNet) -> None:
    flow_net.timings = {"flow_patience": 0.05}
    port = free_port()
    server = await flow_net.server(free_port(), [f"{HOST}:{port}=7100"], FLOWS[flow_net.transport])
    listening = server.tunnel.ports.open[HOST, port]
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
    listening = server.tunnel.ports.open[HOST, port]
    for _ in range(5):
        flow_net.udp(port).send(b"hello")
    await until(lambda: listening.udp.dropped == 2)
    assert listening.udp.flows == 3


async def test_an_address_that_floods_pushes_out_no_flow_that_was_answered(busy_net: UdpNet) -> None:
    """Each datagram comes from another port, as in a flood from one machine."""
    target = busy_net.udp()
    tunnel = await busy_net.flows(target.port, server="udp_max_flows = 20", user_host="0.0.0.0")
    (listening,) = tunnel.server.tunnel.ports.open.values()
    user = busy_net.udp(tunnel.ports[0], "127.0.0.2")
    user.send(b"hello")
    _, flow = await target.receive_from()
    target.send(b"welcome", flow)
    assert await user.receive() == b"welcome"
    for number in range(1, 61):
        busy_net.udp(tunnel.ports[0]).send(b"flood")
        await until(lambda number=number: listening.udp.total == 1 + number)  # type: ignore[misc]
    assert len(tunnel.server.relay.flows) == 20
    target.send(b"news", flow)
    assert await user.receive() == b"news"


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
    listening, user = server.tunnel.ports.open[HOST, port], flow_net.udp(port)
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
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0]].udp.total == 1


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
    assert tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0]].udp.total == 2


async def test_a_closed_port_ends_its_flows(flow_net: UdpNet) -> None:
    tunnel, user = await echoing(flow_net)
    assert await user.ask(b"hello") == b"echo:hello"
    ports = tunnel.server.tunnel.ports
    ports.remove([port.mapping for port in ports.open.values()])
    assert not len(tunnel.server.relay.flows)


async def test_a_taken_port_is_reported_and_the_others_open(flow_net: UdpNet) -> None:
    taken, free = flow_net.udp(), free_port()
    server = await flow_net.server(
        free_port(), [f"{HOST}:{taken.port}=1", f"{HOST}:{free}=1"], FLOWS[flow_net.transport]
    )
    assert list(server.tunnel.ports.open) == [(HOST, free)]
