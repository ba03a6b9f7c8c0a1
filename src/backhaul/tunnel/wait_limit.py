"""The time for which users wait for a carrier."""

import math
import time
from collections.abc import Callable


class WaitLimit:
    """Decides until when a user waits: longer on a slow line, and as long as others get carriers.

    A dead client opens no connections, so its users wait for the usual time.
    """

    def __init__(
        self,
        usual: float,
        longest: float,
        dial_time: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``usual`` and ``longest`` are seconds; ``dial_time`` returns those for a connection, 0 if unknown."""
        self.usual = usual
        """The shortest time."""
        self._longest = max(usual, longest)
        self._dial_time = dial_time
        self._clock = clock
        self._carried = -math.inf  # the time at which a waiting user got a carrier last

    def carried(self) -> None:
        """Note that a waiting user has got a carrier: the next one may, too."""
        self._carried = self._clock()

    def until(self, since: float) -> float:
        """Return the time until which a user waits who came at ``since``."""
        patience = max(self.usual, self._dial_time())
        return min(max(since, self._carried) + patience, since + self._longest)
