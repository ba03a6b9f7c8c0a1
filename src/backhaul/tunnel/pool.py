"""How many idle tunnel connections a client keeps: arithmetic only, v0.7.2's rule.

Every 10 seconds the average load (requests per second) is held against the average number of idle
connections. One more is kept when `load + a > idle * b`, one less when `load + x < idle * y`, never fewer
than configured.
"""

from typing import NamedTuple

ADJUST_EVERY = 10  # samples, one a second


class Factors(NamedTuple):
    """The numbers of the rule."""

    a: int
    b: int
    x: int
    y: float


NORMAL = Factors(4, 5, 3, 4.0)
AGGRESSIVE = Factors(1, 2, 0, 0.75)


class PoolSize:
    """Follows demand; the caller samples once a second and says each request of the server."""

    def __init__(self, configured: int, *, aggressive: bool) -> None:
        self._configured = configured
        self._factors = AGGRESSIVE if aggressive else NORMAL
        self._samples = 0
        self._idle_sum = 0
        self._requests = 0
        self._surplus = 0
        self._least_idle = 0
        self.size = configured

    def requested(self, idle: int) -> bool:
        """The server asks for one more; whether to dial it (no, while more than enough are idle now).

        `idle` counts those only of which the server needs no replacement.
        """
        self._requests += 1
        self._least_idle = min(self._least_idle, idle)
        if min(self._surplus, idle - self.size) > 0:
            self._surplus -= 1
            return False
        return True

    def sample(self, idle: int, opening: int, shared: int = 0) -> int:
        """Take the figures of this second; return how many to dial so that dead connections are replaced.

        `shared` have users and take more: they count for the pool as idle ones do.
        """
        self._samples += 1
        self._idle_sum += idle + shared
        if self._samples == ADJUST_EVERY:
            self._adjust()
        # Under load many that look idle here are already taken on the other end: only those that nobody
        # wanted for a whole second are too many.
        self._surplus = max(0, min(self._least_idle, idle) - self.size)
        self._least_idle = idle
        return max(0, self.size - idle - shared - opening)

    def _adjust(self) -> None:
        load, idle = _average(self._requests), _average(self._idle_sum)
        a, b, x, y = self._factors
        if load + a > idle * b:
            self.size += 1
        elif load + x < idle * y and self.size > self._configured:
            self.size -= 1
        self._samples = self._idle_sum = self._requests = 0


def _average(total: int) -> int:
    return -(-total // ADJUST_EVERY)  # rounded up, as v0.7.2 does
