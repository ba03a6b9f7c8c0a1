"""The access log: a line for each user who has left."""

import asyncio
import logging
import math
import time
from typing import Final

from backhaul.errors import reason
from backhaul.reports import UserEnd
from backhaul.threads import in_thread_or_here

from .access_lines import Lines, stamp
from .access_writer import Sink, Writer

MOST_WAITING: Final = 16384
"""Lines, some 4 MB; further ones are dropped and counted."""
INTERVAL: Final = 1.0
"""Seconds for which lines are collected."""
BATCH: Final = 256
"""Users whose lines are made at once, which delays all others for 0.2 ms."""
LAST_WRITE: Final = 2.0
"""Seconds for the last lines: the reader of a pipe may have stopped."""

log = logging.getLogger("backhaul")


class AccessLog:
    """Makes lines in the event loop, and lets a thread write them to ``sink``.

    The thread makes none of them, because the event loop would have to wait for the interpreter after each system call.
    """

    def __init__(
        self,
        sink: Sink,
        lines: Lines,
        *,
        most_waiting: int = MOST_WAITING,
        interval: float = INTERVAL,
        batch: int = BATCH,
        last_write: float = LAST_WRITE,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines = lines
        self._most = most_waiting
        self._interval = interval
        self._batch = batch
        self._last_write = last_write
        self._stamp = stamp()
        self._moment = -math.inf  # of the last user, by the loop's clock
        self._time = ""  # the same as text
        self._timer: asyncio.TimerHandle | None = None
        self._users: list[UserEnd] = []  # whose lines are not made yet
        self._dropped = 0  # since the last report
        self._lost = 0  # by the sink, since it began to fail
        self._failing = False
        self.place = sink.name
        """Where the lines go, for administrators."""
        self._writer = Writer(sink, self._report)

    def write(self, user: UserEnd) -> None:
        """Write the line of a user who leaves now, or drop it if too many wait."""
        now = self._loop.time()
        if now != self._moment:
            self._tick(now)
        user.time = self._time
        self._users.append(user)
        if len(self._users) >= self._batch:
            self._make()

    def reopen(self) -> None:
        """Write the waiting lines, and reopen the file, after another program has renamed it."""
        self._flush()
        self._writer.reopen()

    async def close(self) -> None:
        """Write the last lines, as long as that does not take too long."""
        self._flush()
        await in_thread_or_here(self._writer.close, self._last_write)

    def _tick(self, now: float) -> None:
        self._moment = now
        self._time = self._stamp(time.time())
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._flush)

    def _make(self) -> None:
        """Make lines of the users."""
        users, self._users = self._users, []
        if self._writer.waiting + len(users) > self._most:
            if not self._dropped:
                log.warning("access_log: %d lines wait for a write; further ones are dropped", self._writer.waiting)
            self._dropped += len(users)
        elif users:
            self._writer.add(self._lines(users), len(users))

    def _flush(self) -> None:
        """Make the last lines, and let the thread write."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._moment = -math.inf  # the next user starts the timer
        self._make()
        self._writer.wake()

    def _report(self, lines: int, error: OSError | None) -> None:
        """Let the event loop log how a write of lines went, whose thread owns the log."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wrote, lines, error)

    def _wrote(self, lines: int, error: OSError | None) -> None:
        if error:
            self._failed(lines, reason(error))
        else:
            self._worked()

    def _failed(self, lines: int, why: str) -> None:
        self._lost += lines
        if self._failing:
            return
        self._failing = True
        if lines:
            log.warning("access_log: can't write to %s: %s; lines are lost until that works", self.place, why)
        else:  # no thread has taken them
            log.warning("access_log: can't write to %s: %s; lines wait until that works", self.place, why)

    def _worked(self) -> None:
        if self._failing:
            self._failing = False
            lost = f"at most {self._lost} lines were lost" if self._lost else "no lines were lost"
            log.warning("access_log: writable again; %s", lost)
            self._lost = 0
        if self._dropped:
            log.warning("access_log: %d lines were dropped, because writing is too slow", self._dropped)
            self._dropped = 0
