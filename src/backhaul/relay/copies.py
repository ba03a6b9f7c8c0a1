"""Datagrams that are sent again a little later, for lines that lose some."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from backhaul.net.timers import EARLY
from backhaul.wire.datagrams import Batch

PAUSE: Final = 0.01
"""Seconds between a datagram and its copy: a queue that is full loses what arrives within some milliseconds, and a game
or a call has use for what comes this late."""
_MOST: Final = 1 << 20  # bytes that wait: those of 800 Mbit/s

Transmit = Callable[[Batch], None]


class _Waiting(NamedTuple):
    """Datagrams that are to be sent again."""

    due: float
    left: int  # times that they are sent from now on
    batch: Batch
    size: int  # bytes
    transmit: Transmit


class Copies:
    """Sends datagrams as often as ``count`` says, the first time included; their receiver uses the first that arrives.

    It may be changed at any time. Beyond a megabyte no more datagrams wait: they are sent once.
    """

    def __init__(self, count: int = 1, *, pause: float = PAUSE) -> None:
        """``pause`` is in seconds."""
        self._loop = asyncio.get_running_loop()
        self._pause = pause
        self._waiting: deque[_Waiting] = deque()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self.count = count

    def repeat(self, batch: Batch, transmit: Transmit) -> None:
        """Call ``transmit`` again with datagrams that have been sent once, which must not change meanwhile."""
        self._add(batch, sum(map(len, batch)), self.count - 1, transmit)

    def _add(self, batch: Batch, size: int, left: int, transmit: Transmit) -> None:
        if not left or self._size + size > _MOST:
            return
        self._waiting.append(_Waiting(self._loop.time() + self._pause, left, batch, size, transmit))
        self._size += size
        if not self._timer:
            self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_at(self._waiting[0].due, self._send) if self._waiting else None

    def _send(self) -> None:
        try:
            self._send_due(self._loop.time() + EARLY)
        finally:  # after a lack of memory, for instance, which the event loop logs
            self._wait()

    def _send_due(self, now: float) -> None:
        while self._waiting and self._waiting[0].due <= now:
            one = self._waiting.popleft()
            self._size -= one.size
            one.transmit(one.batch)
            self._add(one.batch, one.size, one.left - 1, one.transmit)
