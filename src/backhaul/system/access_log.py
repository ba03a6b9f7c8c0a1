"""The access log: a line for each user who has left, written by a thread, so that no disk delays the tunnel."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from backhaul.errors import reason
from backhaul.reports import UserEnd

from .access_lines import Line

MOST_WAITING: Final = 16384
"""Lines, some 4 MB; further ones are dropped and counted."""
INTERVAL: Final = 1.0
"""Seconds for which lines are collected."""
LAST_WRITE: Final = 2.0
"""Seconds for the last lines: the reader of a pipe may have stopped."""

log = logging.getLogger("backhaul")


class Sink(Protocol):
    """A place for lines; only the thread of the log uses it."""

    def write(self, lines: list[bytes]) -> None:
        """Write whole lines; raise OSError if that fails, after which any number of them is lost."""

    def reopen(self) -> None:
        """Open the place anew, because its name may lead elsewhere now."""

    def close(self) -> None:
        """Close it."""


class AccessLog:
    """Collects lines in the event loop, and writes them to ``sink`` in a thread of its own."""

    def __init__(
        self,
        sink: Sink,
        line: Line,
        *,
        most_waiting: int = MOST_WAITING,
        interval: float = INTERVAL,
        last_write: float = LAST_WRITE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._line = line
        self._most = most_waiting
        self._interval = interval
        self._last_write = last_write
        self._lines: deque[bytes] = deque()
        self._dropped = 0  # since the last report
        self._lost = 0  # by the sink, since it began to fail
        self._failing = False
        self._noted = False  # the thread knows that lines wait
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._reopening = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def write(self, user: UserEnd) -> None:
        """Write a line soon, or drop it if too many wait."""
        if len(self._lines) >= self._most:
            self._dropped += 1
            return
        self._lines.append(self._line(user))
        if not self._noted:
            self._noted = True
            self._wake.set()

    def reopen(self) -> None:
        """Write what waits, and open the file anew, after another program has renamed it."""
        self._reopening = True
        self._hurry.set()
        self._wake.set()

    async def close(self) -> None:
        """Write the last lines, as long as that does not take too long."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        await asyncio.to_thread(self._thread.join, self._last_write)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(self._interval)
            self._hurry.clear()
            self._flush()
            if self._reopening:
                self._reopening = False
                self._sink.reopen()
        self._flush()
        self._sink.close()

    def _flush(self) -> None:
        self._noted = False
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        try:
            self._sink.write(lines)
        except OSError as error:
            self._report(self._failed, len(lines), reason(error))
        else:
            self._report(self._worked)

    def _report(self, report: Callable[..., None], *details: object) -> None:
        """Let the event loop log it, whose thread owns the log."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(report, *details)

    def _failed(self, lines: int, why: str) -> None:
        self._lost += lines
        if not self._failing:
            self._failing = True
            log.warning("access_log: can't write: %s; lines are lost until that works", why)

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            log.warning("access_log: written again; %d lines were lost", self._lost)
            self._lost = 0
        if self._dropped:
            log.warning("access_log: %d lines were dropped, because writing is too slow", self._dropped)
            self._dropped = 0
