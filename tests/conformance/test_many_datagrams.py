"""A multitude of datagrams or sources through the tunnel."""

import asyncio
import gc
import random
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.datagrams import Sources, UdpNet, echoing, repeat
from tests.support.net import HOST, until
from tests.support.tunnel import Tunnel

EXPIRING = 600  # flows that begin and end again and again: a leak of one object for every tenth of them would show
WARM_UP = 2  # times, after which the caches of addresses, of a thousand each, are full
GROUP = 10  # sources
TURNS = 4  # at most, that are measured
IDLE_BLOCKS = 12  # objects of an idle tunnel on one end, and some
SESSION_BLOCKS = 2  # by which what a session keeps for its peer differs from one moment to another
SEQUENCE = struct.Struct("!I")


# One transport for each way to carry and frame datagrams: with TLS they only take longer.
@pytest.fixture(params=["udp", "tcp", "tcpmux", "ws"])
async def busy_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide the transports that are tested with a multitude of sources or datagrams."""
    async with UdpNet(request.param) as net:
        yield net


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
    listening = tunnel.server.tunnel.ports.open[*address, ""]
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
    assert tunnel.server.tunnel.ports.open[*address, ""].udp.total == (turn + 1) * EXPIRING


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
