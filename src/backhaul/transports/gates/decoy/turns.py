"""Turns of visitors, so that a crowd of them delays nobody else."""

import asyncio
from collections import deque
from typing import Final

_AT_ONCE: Final = 8  # visitors in a turn of the event loop: an answer takes 150 us, as many bytes of TLS 300 us


class Turns:
    """Gives a few visitors their turn in each turn of the event loop, first come, first served."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._soon: asyncio.Handle | None = None

    async def take(self) -> None:
        """Wait for a turn."""
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._soon = self._soon or self._loop.call_soon(self._give)
        await turn

    def _give(self) -> None:
        left = _AT_ONCE
        while self._waiting and left:
            turn = self._waiting.popleft()
            if not turn.done():  # its visitor has not been turned out
                turn.set_result(None)
                left -= 1
        self._soon = self._loop.call_soon(self._give) if self._waiting else None
