"""Pauses in which this process did not run: the machine slept, or the process was stopped."""

import time
from collections.abc import Callable
from typing import Final

# The clock of the event loop may stop while the machine sleeps; this one does not. macOS has no such clock.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Naps:
    """Notices a pause of more than ``shortest`` seconds between two calls."""

    def __init__(self, shortest: float, clock: Callable[[], float] = _now) -> None:
        self._shortest = shortest
        self._clock = clock
        self._last = clock()

    def begin(self) -> None:
        """Start measuring."""
        self._last = self._clock()

    def woke(self) -> bool:
        """Return whether the last call was so long ago that this process can't have run since."""
        before, self._last = self._last, self._clock()
        return self._last - before > self._shortest
