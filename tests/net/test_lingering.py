"""A peer receives the last bytes of a connection that is closed while it sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import PATIENCE, Peer, Sockets, until

from backhaul.net.closing import linger, release
from backhaul.net.descriptors import Descriptors
from backhaul.net.lingering import Lingering
from backhaul.net.poller import Poller
from backhaul.net.pollers import EpollPoller, LoopPoller
from backhaul.net.predicates import has_error

UNREAD = bytes(200_000)  # more than one read
ENDLESS = 3600.0  # seconds: only the peer's end closes a connection


@pytest.fixture
async def sockets() -> AsyncIterator[Sockets]:
    sockets = Sockets()
    yield sockets
    sockets.close_peers()


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def poller(request: pytest.FixtureRequest, sockets: Sockets) -> AsyncIterator[Poller]:
    poller: Poller = request.param()
    poller.lingering = Lingering(poller, patience=ENDLESS)
    yield poller
    poller.close()


async def full(sockets: Sockets) -> tuple[Peer, Peer, int]:
    """Return both ends of a connection with unread bytes, and how many the first one has sent."""
    near, far = await sockets.pair()
    await far.send(UNREAD)
    return near, far, near.fill()


@pytest.mark.parametrize("close", [release, linger])
async def test_the_peer_gets_all_bytes(poller: Poller, sockets: Sockets, close: Callable[[Poller, Any], None]) -> None:
    near, far, sent = await full(sockets)
    close(poller, near.sock)
    await far.send(UNREAD)
    assert await far.receive_all() == bytes(sent)
    far.close()
    await until(lambda: near.sock.fileno() < 0)


async def test_bytes_that_follow_are_no_reset(poller: Poller, sockets: Sockets) -> None:
    near, far = await sockets.pair()
    linger(poller, near.sock)
    await far.send(UNREAD)
    assert await far.receive_all() == b""
    assert not has_error(far.sock)


async def test_a_peer_that_does_not_end_is_cut(poller: Poller, sockets: Sockets) -> None:
    near, _ = await sockets.pair()
    Lingering(poller, patience=0.01).add(near.sock)
    await until(lambda: near.sock.fileno() < 0)


async def test_a_peer_that_sends_too_much_is_cut(poller: Poller, sockets: Sockets) -> None:
    near, far = await sockets.pair()
    assert far.fill() > len(UNREAD)
    Lingering(poller, patience=ENDLESS, most_discarded=len(UNREAD)).add(near.sock)
    await until(lambda: near.sock.fileno() < 0)


async def test_the_oldest_makes_room(poller: Poller, sockets: Sockets) -> None:
    first, *others = [(await sockets.pair())[0] for _ in range(3)]
    lingering = Lingering(poller, most=2)
    for peer in (first, *others):
        lingering.add(peer.sock)
    assert first.sock.fileno() < 0
    assert len(lingering) == 2
    lingering.close()


async def test_nothing_lingers_while_descriptors_are_scarce(poller: Poller, sockets: Sockets) -> None:
    near, _, _ = await full(sockets)
    poller.descriptors = Descriptors(limit=near.sock.fileno)
    release(poller, near.sock)
    assert near.sock.fileno() < 0


async def test_a_broken_connection_is_closed_at_once(poller: Poller, sockets: Sockets) -> None:
    near, far = await sockets.pair()
    far.reset()
    await until(lambda: not near.silent())  # which takes the error
    linger(poller, near.sock)
    assert near.sock.fileno() < 0


async def test_the_end_waits_for_those_that_linger(poller: Poller, sockets: Sockets) -> None:
    near, far = await sockets.pair()
    linger(poller, near.sock)
    waiting = asyncio.ensure_future(poller.lingering.finish(PATIENCE))
    far.close()
    await waiting
    assert not len(poller.lingering)


async def test_the_end_waits_no_longer_than_it_may(poller: Poller, sockets: Sockets) -> None:
    near, far = await sockets.pair()
    linger(poller, near.sock)
    await poller.lingering.finish(0.01)
    assert far.silent() is False  # the end has arrived
    poller.close()
    assert near.sock.fileno() < 0


@pytest.mark.parametrize("close", [release, linger])
async def test_one_that_can_not_be_watched_is_closed_at_once(
    sockets: Sockets, close: Callable[[Poller, Any], None]
) -> None:
    near, far, _ = await full(sockets)
    poller = ExhaustedPoller()
    close(poller, near.sock)
    assert near.sock.fileno() < 0
    assert not len(poller.lingering)
    assert not await far.closed()
    poller.close()


@pytest.mark.parametrize("close", [release, linger])
@pytest.mark.parametrize("make_poller", [EpollPoller, LoopPoller])
async def test_nothing_lingers_after_the_poller(
    sockets: Sockets, make_poller: Callable[[], Poller], close: Callable[[Poller, Any], None]
) -> None:
    poller = make_poller()
    (fresh, one, _), (known, other, _) = [await full(sockets) for _ in range(2)]
    poller.on_readable(known.sock, lambda: None)
    poller.close()
    for near, far in ((fresh, one), (known, other)):
        close(poller, near.sock)
        assert near.sock.fileno() < 0
        far.close()
