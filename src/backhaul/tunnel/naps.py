"""Pauses in which this process did not run: the machine slept, or the process was stopped."""

from collections.abc import Callable

from backhaul.elapsed import elapsed


class Naps:
    """Notices a pause of more than ``shortest`` seconds between two calls."""

    def __init__(self, shortest: float, clock: Callable[[], float] = elapsed) -> None:
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
