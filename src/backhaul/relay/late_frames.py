"""Frames that are not urgent: the last ones of streams whose other direction has already ended.

With many short connections they leave in the next write of their session, which saves a write for each user here, and a
read on the other end. Otherwise they leave soon.
"""

import asyncio
from collections.abc import Callable

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.together import Flushing, flush_all


class LateFrames:
    """Sends the late frames of sessions in which nothing else is sent; no timer runs while there are none."""

    def __init__(self, longest: Callable[[], float], faults: LogThrottle) -> None:
        """``longest`` returns the seconds for which they may wait; ``faults`` logs unexpected exceptions."""
        self._loop = asyncio.get_running_loop()
        self._longest = longest
        self._faults = faults
        self._sessions: set[Flushing] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, session: Flushing) -> None:
        """Flush the session in a while."""
        if not self._sessions:
            self._timer = self._loop.call_later(self._longest(), self._flush)
        self._sessions.add(session)

    def close(self) -> None:
        """Stop, and drop all sessions."""
        self._sessions.clear()
        if self._timer:
            self._timer.cancel()

    def _flush(self) -> None:
        sessions, self._sessions = self._sessions, set()
        flush_all(sessions, self._faults)
