"""Histograms of the times of users, with fixed buckets: an observation is a search and two additions."""

from bisect import bisect_left
from typing import Final

from backhaul.state import HistogramState

WAITING: Final = (0.01, 0.1, 0.5, 1.0, 3.0)
"""Bounds in seconds: most users find a free connection; others wait for a round trip, or for a client to return."""
DURATION: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Bounds in seconds: from a request to a session of hours. Each bound is a line for each port and client."""


class Histogram:
    """Counts values by buckets, each of which includes its upper bound."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def state(self) -> HistogramState:
        """Return the counts so far."""
        return HistogramState(self._bounds, tuple(self._counts), self._total)


class UserTimes:
    """The times of all users of one port and one client."""

    __slots__ = ("duration", "waiting")

    def __init__(self) -> None:
        self.waiting = Histogram(WAITING)
        self.duration = Histogram(DURATION)
