"""A visitor's connection: whatever the visitor sends, and however fast, others have their turns meanwhile."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from tests.support.net import Peer
from tests.support.tunnel import Net

from backhaul.net.pollers import make_poller
from backhaul.transports.gates.decoy.stream import Stream
from backhaul.transports.gates.decoy.turns import Turns

CROWD = 100
A_FEW = 8
PIECES = 4
PIECE = 1 << 14  # bytes that are read at a time


@asynccontextmanager
async def visit(net: Net) -> AsyncIterator[tuple[Stream, Peer]]:
    poller = make_poller()
    near, far = await net.pair()
    stream = Stream(poller, near.sock, b"", 10.0, Turns())
    yield stream, far
    stream.close()
    poller.close()


async def turns_during(work: Awaitable[object]) -> int:
    """Return how many turns the event loop has while ``work`` is done."""
    count, done = 0, asyncio.ensure_future(work)
    while not done.done():
        count += 1
        await asyncio.sleep(0)
    await done
    return count


async def repeatedly(act: Callable[[], Awaitable[object]]) -> None:
    for _ in range(PIECES):
        await act()


@pytest.mark.both_loops
async def test_bytes_that_have_arrived_are_read_in_turn_with_others(net: Net) -> None:
    async with visit(net) as (stream, far):
        await far.send(bytes(PIECES * PIECE))
        assert await turns_during(repeatedly(stream.fill)) >= PIECES
        assert len(stream.buffer) == PIECES * PIECE


@pytest.mark.both_loops
async def test_bytes_without_use_are_discarded_in_turn_with_others(net: Net) -> None:
    async with visit(net) as (stream, far):
        await far.send(bytes(PIECES * PIECE))
        far.close()
        assert await turns_during(stream.drain()) >= PIECES


@pytest.mark.both_loops
async def test_answers_leave_in_turn_with_others(net: Net) -> None:
    async with visit(net) as (stream, far):
        assert await turns_during(repeatedly(lambda: stream.send(b"answer"))) >= PIECES
        assert await far.receive(PIECES * len(b"answer")) == PIECES * b"answer"


@pytest.mark.both_loops
async def test_a_crowd_has_its_turns_a_few_at_a_time() -> None:
    turns, order, steps = Turns(), list[int](), list[int]()

    async def visitor(number: int) -> None:
        await turns.take()
        order.append(number)

    visitors = [asyncio.create_task(visitor(number)) for number in range(CROWD)]
    await asyncio.sleep(0)
    visitors[0].cancel()
    while len(order) < CROWD - 1:
        steps.append(len(order))
        await asyncio.sleep(0)
    assert order == list(range(1, CROWD))
    assert max(after - before for before, after in itertools.pairwise(steps)) <= A_FEW
    await asyncio.gather(*visitors, return_exceptions=True)
