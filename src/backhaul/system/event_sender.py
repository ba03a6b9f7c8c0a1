"""The sender of events: one at a time, a bounded number of them, each for a bounded time."""

import asyncio
import contextlib
import logging
from collections import deque
from typing import Final

from backhaul.errors import reason
from backhaul.net.log_throttle import LogThrottle

from .event_ways import EventError, Send

MOST_WAITING: Final = 1024
"""Events; further ones are dropped."""
TIMEOUT: Final = 10.0
"""Seconds for one event."""
LAST: Final = 2.0
"""Seconds for those that wait at the end."""

log = logging.getLogger("backhaul")


class EventSender:
    """Sends documents in their order; a failure costs one line in the log and the event."""

    def __init__(
        self,
        name: str,
        send: Send,
        *,
        most_waiting: int = MOST_WAITING,
        timeout: float = TIMEOUT,
        last: float = LAST,
    ) -> None:
        self._name = name
        self._send = send
        self._most = most_waiting
        self._timeout = timeout
        self._last = last
        self._waiting: deque[bytes] = deque()
        self._throttle = LogThrottle(log, 60.0)
        self._work: asyncio.Task[None] | None = None

    def send(self, document: bytes) -> None:
        """Send a document soon, or drop it if too many wait."""
        if len(self._waiting) >= self._most:
            self._throttle.warn("full", f"on_event: {self._name}: {self._most} events wait; further ones are dropped")
            return
        self._waiting.append(document)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Give the waiting events a moment, and drop the rest."""
        if self._work:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._last):
                    await self._work  # a timeout cancels it

    async def _send_all(self) -> None:
        while self._waiting:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._send(self._waiting.popleft())
            except TimeoutError:
                self._warn(f"not finished within {self._timeout:g} s")
            except (EventError, OSError, RuntimeError, MemoryError) as error:  # RuntimeError: no thread can start
                self._warn(reason(error) or type(error).__name__)

    def _warn(self, why: str) -> None:
        self._throttle.warn("failed", f"on_event: {self._name}: {why}; the event is lost")
