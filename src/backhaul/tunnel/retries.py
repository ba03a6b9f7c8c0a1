"""Attempts repeated with growing pauses, without end."""

import asyncio
from collections.abc import Callable, Sequence


class Retries:
    """Calls ``attempt`` after each of ``pauses``, and repeats the last one, until it returns True."""

    def __init__(self, attempt: Callable[[], bool], pauses: Sequence[float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._attempt = attempt
        self._pauses = pauses
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start with the first pause."""
        self.stop()
        self._made = 0
        self._later()

    def stop(self) -> None:
        """Stop the attempts."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _later(self) -> None:
        pause = self._pauses[min(self._made, len(self._pauses) - 1)]
        self._timer = self._loop.call_later(pause, self._again)

    def _again(self) -> None:
        self._timer = None
        self._made += 1
        if not self._attempt():
            self._later()
