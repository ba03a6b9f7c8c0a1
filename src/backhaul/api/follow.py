"""The stream of events: lines of the log as server-sent events (WHATWG HTML, section 9.2)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from backhaul.monitor.events import EventLog
from backhaul.monitor.status import Event

BEAT: Final = 15.0
"""Seconds without an event after which a comment shows that the connection is alive."""
_RETRY: Final = b"retry: 2000\n\n"  # milliseconds after which a reader comes back
_BEAT: Final = b":\n\n"


async def follow(log: EventLog, last: str, beat: float = BEAT) -> AsyncGenerator[bytes]:
    """Yield the kept events after the one with the id ``last``, then each new one.

    The log is the only backlog of a reader. A reader that has fallen further behind is told how many events it missed.
    """
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    position = _number(log, last)
    yield _RETRY
    with log.followed(lambda: loop.call_soon_threadsafe(news.set)):
        while True:
            news.clear()
            events = [event for event in log.events() if event.id > position]
            if events and position and (missed := events[0].id - position - 1):
                yield b'event: missed\ndata: {"count":%d}\n\n' % missed
            for event in events:
                yield _encode(log, event)
                position = event.id
            try:
                async with asyncio.timeout(beat):
                    await news.wait()
            except TimeoutError:
                yield _BEAT


def _number(log: EventLog, last: str) -> int:
    """Return the number of an event of this run; 0 for those of other runs, which are not missing here."""
    run, _, number = last.partition("-")
    return int(number) if run == log.run and number.isascii() and number.isdigit() else 0


def _encode(log: EventLog, event: Event) -> bytes:
    return b"id: %s-%d\nevent: log\ndata: %s\n\n" % (log.run.encode(), event.id, msgspec.json.encode(event))
