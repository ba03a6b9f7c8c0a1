"""Free memory goes back to the kernel when most of a crowd, or of the bytes that waited for it, are gone."""

import resource
from pathlib import Path

import pytest
from tests.support.clock import Loop

from backhaul.net.buffers import release_free_memory
from backhaul.relay.reclaimer import AFTER, Reclaimer

MANY = {"users": 1000, "strangers": 1000, "unsent": 100 << 20}


@pytest.mark.parametrize("tide", MANY)
def test_once_after_most_are_gone(tide: str) -> None:
    loop, released = Loop(), list[float]()
    reclaimer = Reclaimer(loop, lambda: released.append(loop.time()))
    follow, many = getattr(reclaimer, tide).level, MANY[tide]
    for now in (many, many // 2, many // 4):
        follow(now)
    assert not loop.timers
    for now in (many // 4 - 1, many // 8, 0):
        follow(now)
    loop.run(100)
    assert released == [AFTER]
    follow(0)
    assert not loop.timers
    for now in (many, 0):
        follow(now)
    loop.run(200)
    assert released == [AFTER, 100 + AFTER]


def test_not_for_few() -> None:
    loop = Loop()
    reclaimer = Reclaimer(loop)
    for now in (200, 0):
        reclaimer.users.level(now)
    for now in (16 << 20, 0):
        reclaimer.unsent.level(now)
    assert not loop.timers


def test_not_after_the_end() -> None:
    loop, released = Loop(), list[float]()
    reclaimer = Reclaimer(loop, lambda: released.append(loop.time()))
    for now in (1000, 0):
        reclaimer.users.level(now)
    reclaimer.close()
    loop.run(100)
    assert not released


def resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_below_a_piece_in_use_goes_back() -> None:
    pieces = [bytearray(b"x" * 100_000) for _ in range(1000)]  # too small for maps of their own
    last = bytearray(b"x" * 100_000)
    before = resident()
    pieces.clear()
    release_free_memory()
    assert resident() < before - 50_000_000
    assert last
