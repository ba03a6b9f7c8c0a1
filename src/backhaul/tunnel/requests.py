"""A server's requests for tunnel connections, which a client meets a few at a time."""

import asyncio
from collections.abc import Callable
from typing import Final

from backhaul.wire.messages import MAX_COUNT

_BATCH: Final = 8  # in one turn of the event loop: a dial takes 0.2 ms, and users wait meanwhile


class Requests:
    """Requests that wait for their turn; users would wait for all of them, and one message may hold 65,535."""

    def __init__(self, meet: Callable[[], bool]) -> None:
        """``meet`` meets a request; if it refuses one it returns False, and all others that wait are dropped."""
        self._loop = asyncio.get_running_loop()
        self._meet = meet
        self._waiting = 0
        self._scheduled = False

    def add(self, count: int) -> None:
        """Meet ``count`` more of them, soon."""
        self._waiting = min(self._waiting + count, MAX_COUNT)
        self._schedule()

    def clear(self) -> None:
        """Drop those that wait."""
        self._waiting = 0

    def _schedule(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._meet_some)

    def _meet_some(self) -> None:
        self._scheduled = False
        for _ in range(min(_BATCH, self._waiting)):
            self._waiting -= 1
            if not self._meet():
                self._waiting = 0
                return
        self._schedule()
