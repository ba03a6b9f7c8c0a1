"""The time for which the program runs, on machines whose clock is set after it has started."""

import time
from collections.abc import Callable
from typing import Final

_STEP: Final = 2.0  # seconds; smaller corrections leave the start where it is, for those who compare it


def _elapsed() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


class Start:
    """The moment at which the program started."""

    def __init__(self, clock: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._begun = elapsed()
        self._moment = clock()

    def moment(self) -> float:
        """Return it in seconds since 1970, by the clock as it is now."""
        moment = self._clock() - (self._elapsed() - self._begun)
        if abs(moment - self._moment) > _STEP:
            self._moment = moment
        return self._moment
