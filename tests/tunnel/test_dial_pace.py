"""The pace of new tunnel connections."""

import asyncio

import pytest
from tests.support.clock import Loop

from backhaul.tunnel.dial_pace import DialPace


class Dialled(list[None]):
    """The connections that were dialled."""

    def dial(self) -> None:
        """Note one more."""
        self.append(None)


async def test_without_a_rate_all_are_dialled_at_once() -> None:
    dialled = Dialled()
    pace = DialPace(dialled.dial, 0)
    for _ in range(100):
        pace.request()
    assert len(dialled) == 100
    assert not pace.waiting


def test_with_a_rate_they_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, dialled = Loop(), list[float]()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    pace = DialPace(lambda: dialled.append(loop.now), 100)
    for _ in range(5):
        pace.request()
    assert (len(dialled), pace.waiting) == (1, 4)
    loop.run_for(1)
    assert dialled == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])


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
