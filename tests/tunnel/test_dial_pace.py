"""The pace of new tunnel connections."""

import asyncio
import itertools

import pytest
from tests.support.clock import Loop
from tests.support.net import until

from backhaul.tunnel.dial_pace import DialPace


class Dialled(list[float]):
    """The times at which connections were dialled."""

    def dial(self) -> None:
        """Note the time."""
        self.append(asyncio.get_running_loop().time())


async def test_without_a_rate_all_are_dialled_at_once() -> None:
    dialled = Dialled()
    pace = DialPace(dialled.dial, 0)
    for _ in range(100):
        pace.request()
    assert len(dialled) == 100
    assert not pace.waiting


async def test_with_a_rate_they_are_spread() -> None:
    dialled = Dialled()
    pace = DialPace(dialled.dial, 100)
    for _ in range(5):
        pace.request()
    assert (len(dialled), pace.waiting) == (1, 4)
    await until(lambda: len(dialled) == 5)
    assert all(later - earlier > 0.009 for earlier, later in itertools.pairwise(dialled))


def test_a_timer_may_come_a_little_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, dialled = Loop(early=0.0004), list[float]()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    pace = DialPace(lambda: dialled.append(loop.now), 100)
    pace.request()
    pace.request()
    loop.run_next()
    assert len(dialled) == 2


async def test_those_that_wait_are_forgotten_with_their_control_channel() -> None:
    dialled = Dialled()
    pace = DialPace(dialled.dial, 1)
    for _ in range(5):
        pace.request()
    pace.clear()
    assert not pace.waiting
    pace.set_rate(0)
    pace.request()
    assert len(dialled) == 2


async def test_another_rate_counts_at_once() -> None:
    dialled = Dialled()
    pace = DialPace(dialled.dial, 1)
    for _ in range(5):
        pace.request()
    pace.set_rate(0)
    assert len(dialled) == 5
