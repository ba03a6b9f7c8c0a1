"""Free memory goes back to the kernel when most of a crowd, or of the bytes that waited for it, are gone."""

import asyncio
import resource
from pathlib import Path

import pytest
from tests.support.net import until

from backhaul.net.buffers import release_free_memory
from backhaul.relay.reclaimer import Reclaimer

MANY = {"users": 1000, "unsent": 100 << 20}


@pytest.mark.parametrize("tide", MANY)
async def test_once_after_most_are_gone(tide: str) -> None:
    released: list[float] = []
    reclaimer = Reclaimer(lambda: released.append(0), after=0)
    follow, many = getattr(reclaimer, tide).level, MANY[tide]
    for now in (many, many // 2, many // 4):
        follow(now)
    await asyncio.sleep(0)
    assert not released
    for now in (many // 4 - 1, many // 8, 0):
        follow(now)
    await until(lambda: released)
    follow(0)
    await asyncio.sleep(0.01)
    assert len(released) == 1
    for now in (many, 0):
        follow(now)
    await until(lambda: len(released) == 2)


async def test_not_for_few() -> None:
    released: list[float] = []
    reclaimer = Reclaimer(lambda: released.append(0), after=0)
    for now in (200, 0):
        reclaimer.users.level(now)
    for now in (16 << 20, 0):
        reclaimer.unsent.level(now)
    await asyncio.sleep(0.01)
    assert not released


async def test_not_after_the_end() -> None:
    released: list[float] = []
    reclaimer = Reclaimer(lambda: released.append(0), after=0)
    for now in (1000, 0):
        reclaimer.users.level(now)
    reclaimer.close()
    await asyncio.sleep(0.01)
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
