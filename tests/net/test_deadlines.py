"""Equal time limits for many items."""

import asyncio

import pytest
from tests.support.clock import Loop
from tests.support.net import until

from backhaul.net.deadlines import Deadlines

pytestmark = pytest.mark.both_loops
SOON = 0.02


class Expired(list[str]):
    """Keeps expired items, in order."""

    def __call__(self, item: str) -> None:
        self.append(item)


async def test_items_expire_in_order_unless_discarded() -> None:
    expired = Expired()
    deadlines = Deadlines(SOON, expired)
    for item in "abcd":
        deadlines.add(item)
    deadlines.discard("b")
    deadlines.discard("never there")
    await until(lambda: len(expired) == 3)
    assert (expired, len(deadlines)) == (["a", "c", "d"], 0)


async def test_adding_again_restarts_the_time() -> None:
    expired = Expired()
    deadlines = Deadlines(SOON, expired)
    deadlines.add("a")
    deadlines.add("b")
    deadlines.add("a")
    assert deadlines.oldest() == "b"
    await until(lambda: len(expired) == 2)
    assert expired == ["b", "a"]


async def test_items_can_be_added_after_all_have_expired() -> None:
    expired = Expired()
    deadlines = Deadlines(SOON, expired)
    deadlines.add("a")
    await until(lambda: expired)
    deadlines.add("b")
    await until(lambda: len(expired) == 2)


async def test_expire_may_add_and_discard_items() -> None:
    seen: list[str] = []

    def expire(item: str) -> None:
        seen.append(item)
        deadlines.discard("b")
        if len(seen) < 3:
            deadlines.add("a")

    deadlines = Deadlines(SOON, expire)
    deadlines.add("a")
    deadlines.add("b")
    await until(lambda: len(seen) == 3)
    assert seen == ["a", "a", "a"]


async def test_cleared_items_never_expire() -> None:
    expired = Expired()
    deadlines = Deadlines(SOON, expired)
    deadlines.add("a")
    deadlines.add("b")
    assert "a" in deadlines
    assert deadlines.clear() == ["a", "b"]
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * SOON, late.set)
    await late.wait()
    assert (expired, len(deadlines), "a" in deadlines) == ([], 0, False)


def test_a_timer_may_come_a_little_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, expired = Loop(early=0.0004), Expired()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    Deadlines(SOON, expired).add("a")
    loop.run_next()
    assert expired == ["a"]


def test_items_that_are_added_again_share_the_timer_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, expired = Loop(), Expired()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)

    def expire(item: str) -> None:
        expired(item)
        deadlines.add(item)

    deadlines = Deadlines(1.0, expire)
    for item in "abc":
        deadlines.add(item)
        loop.run_for(0.3)
    loop.run_for(10)
    assert expired[:4] == ["a", "b", "c", "a"]
    assert loop.waiting == 1
