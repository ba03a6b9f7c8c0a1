"""The heartbeat of a control channel."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

_EARLIEST: Final = 0.7  # of the interval


class Heart:
    """Calls ``beat`` at intervals between ``start`` and ``stop``."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._beat = beat
        self._interval = 0.0
        self._earliest = 1.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def beating(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self._timer is not None

    def start(self, interval: float, *, regular: bool) -> None:
        """Beat every ``interval`` seconds, or sooner by a random part of it unless ``regular``.

        A clock's beat is a mark by which others know the tunnel; v0.7.2 beats like one.
        """
        self._interval = interval
        self._earliest = 1.0 if regular else _EARLIEST
        self._beat_later()

    def stop(self) -> None:
        """Stop beating."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _beat_later(self) -> None:
        self.stop()
        share = random.uniform(self._earliest, 1)  # noqa: S311
        self._timer = self._loop.call_later(self._interval * share, self._now)

    def _now(self) -> None:
        self._beat_later()
        self._beat()
