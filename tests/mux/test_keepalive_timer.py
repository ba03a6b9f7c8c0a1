"""The timer of a session's keepalives, with links that only count their beats."""

import asyncio

import pytest
from tests.support.net import until

from backhaul.mux.keepalive_timer import KeepaliveTimer
from backhaul.wire.smux import SmuxError

pytestmark = pytest.mark.both_loops


def do_nothing() -> None:
    """Be a beat without effect."""


class Beats:
    """A link with a beat in each turn of the event loop, which does ``act`` at each of them."""

    def __init__(self, *, regular: bool = False) -> None:
        self.act = do_nothing
        self.shares: list[float] = []
        self.ends: list[str] = []
        self.timer = KeepaliveTimer(asyncio.get_running_loop(), self, regular=regular)
        self.timer.begin()

    @property
    def deadline(self) -> float:
        return asyncio.get_running_loop().time()

    def beat(self, share: float) -> None:
        self.shares.append(share)
        self.act()

    def lost(self, why: str) -> None:
        self.ends.append(why)

    def fail(self, error: Exception) -> None:
        self.ends.append(repr(error))


async def beaten(times: int) -> None:
    """Wait for so many beats of a link that does nothing."""
    other = Beats()
    await until(lambda: len(other.shares) >= times)
    other.timer.end()


async def test_a_link_beats_until_its_end() -> None:
    link = Beats()
    await until(lambda: len(link.shares) >= 3)
    link.timer.end()
    before = len(link.shares)
    await beaten(3)
    assert len(link.shares) == before


async def test_a_link_that_loses_its_connection_in_a_beat_beats_no_more() -> None:
    link = Beats()
    link.act = link.timer.end
    await beaten(3)
    assert len(link.shares) == 1


async def test_a_link_that_finds_another_connection_in_a_beat_has_one_timer() -> None:
    link, other = Beats(), Beats()

    def move() -> None:
        link.timer.end()
        link.timer.begin()

    link.act = move
    await until(lambda: len(other.shares) >= 20)
    assert len(link.shares) <= len(other.shares) + 1


@pytest.mark.parametrize(
    ("error", "end"), [(SmuxError("silent"), "silent"), (ValueError("broken"), "ValueError('broken')")], ids=repr
)
async def test_an_error_in_a_beat_ends_the_link(error: Exception, end: str) -> None:
    link = Beats()

    def fail() -> None:
        raise error

    link.act = fail
    await beaten(3)
    assert (link.ends, len(link.shares)) == ([end], 1)


@pytest.mark.parametrize("regular", [False, True])
async def test_only_a_regular_link_beats_like_a_clock(*, regular: bool) -> None:
    link = Beats(regular=regular)
    await until(lambda: len(link.shares) >= 20)
    link.timer.end()
    assert (set(link.shares) == {1.0}) == regular
    assert all(0.6 <= share <= 1 for share in link.shares)
