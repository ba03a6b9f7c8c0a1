"""The time for which the program runs, on machines whose clock is set after it has started."""

import time
from collections.abc import Callable
from typing import Final

from backhaul.elapsed import elapsed

_STEP: Final = 2.0  # seconds; smaller corrections leave the start where it is, for those who compare it


class Start:
    """The moment at which the program started."""

    def __init__(self, clock: Callable[[], float] = time.time, since: Callable[[], float] = elapsed) -> None:
        self._clock = clock
        self._since = since
        self._begun = since()
        self._moment = clock()

    def moment(self) -> float:
        """Return it in seconds since 1970, by the clock as it is now."""
        moment = self._clock() - (self._since() - self._begun)
        if abs(moment - self._moment) > _STEP:
            self._moment = moment
        return self._moment
