"""Datagrams that are sent again a little later."""

import asyncio

import pytest
from tests.support.clock import Loop

from backhaul.relay.copies import Copies
from backhaul.wire.datagrams import Batch

SOON = 0.001  # seconds


class Line:
    """Keeps what is sent, and tells when enough has been."""

    def __init__(self) -> None:
        self.sent: list[Batch] = []
        self._news = asyncio.Event()

    def transmit(self, batch: Batch) -> None:
        self.sent.append(batch)
        self._news.set()

    async def carries(self, count: int) -> None:
        """Wait for so many batches."""
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self._news.clear()
                await self._news.wait()


async def test_each_batch_is_sent_again_in_order_as_often_as_wanted() -> None:
    copies, line = Copies(3, pause=SOON), Line()
    for batch in ([b"a", b"b"], [b"c"]):
        copies.repeat(batch, line.transmit)
    assert line.sent == []
    await line.carries(4)
    assert line.sent == [[b"a", b"b"], [b"c"]] * 2
    copies.repeat([b"d"], line.transmit)
    await line.carries(6)
    assert line.sent[4:] == [[b"d"]] * 2


def test_a_timer_may_come_a_little_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, sent = Loop(early=0.0004), list[Batch]()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    Copies(2).repeat([b"a"], sent.append)
    loop.run_next()
    assert sent == [[b"a"]]


async def test_one_means_no_copy() -> None:
    copies, line = Copies(pause=SOON), Line()
    copies.repeat([b"a"], line.transmit)
    copies.count = 2
    copies.repeat([b"b"], line.transmit)
    await line.carries(1)
    assert line.sent == [[b"b"]]


async def test_an_error_ends_no_copies_of_others() -> None:
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    copies, line = Copies(2, pause=SOON), Line()
    error = MemoryError()

    def fail(batch: Batch) -> None:
        del batch
        raise error

    copies.repeat([b"a"], fail)
    copies.repeat([b"b"], line.transmit)
    await line.carries(1)
    copies.repeat([b"c"], line.transmit)
    await line.carries(2)
    assert errors == [error]


async def test_a_megabyte_waits_at_most_and_makes_room_again() -> None:
    copies, line = Copies(2, pause=SOON), Line()
    large = [bytes(1 << 19)]
    for batch in (large, [b"a"], large, [b"b"]):
        copies.repeat(batch, line.transmit)
    await line.carries(3)
    assert line.sent == [large, [b"a"], [b"b"]]
    copies.repeat(large, line.transmit)
    await line.carries(4)
