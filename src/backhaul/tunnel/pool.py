"""How many idle tunnel connections a client keeps: arithmetic only, v0.7.2's rule.

Every 10 seconds the average load (requests per second) is held against the average number of idle
connections. One more is kept when `load + a > idle * b`, one less when `load + x < idle * y`, never fewer
than configured.

The server asks for a connection whenever it uses one, so each request is followed by a user who arrives. Where none
does, the server has used a connection that is dead and looks idle here, because a NAT has forgotten it for instance.
Those that the server has used count as idle no more.
"""

from typing import NamedTuple

ADJUST_EVERY = 10  # samples, one a second
MOST_EXTRA = 64  # idle connections beyond the size of the pool, however often the server asks and no user arrives
# Samples after which what is dead has been found by the kernel: 35 s of silence, or a little more for one that has been
# asked for meanwhile. What is idle still is alive: the user whom it was asked for had gone before it came.
_FOUND_OUT = 80


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
        self._used = _Used()
        self._recent = 0  # requests since the last sample ...
        self._before = 0  # ... and in the second before: their connections may be on their way to a user
        self.size = configured

    def requested(self, idle: int) -> bool:
        """The server asks for one more; whether to dial it (no, while more than enough are idle now).

        `idle` counts those only of which the server needs no replacement.
        """
        self._requests += 1
        self._least_idle = min(self._least_idle, idle)
        live, resting = idle - self._used.count, idle - self._recent - self._before
        self._used.count += 1
        self._recent += 1
        if self._surplus > 0 and live > self.size:
            self._surplus -= 1
            return False
        return resting < self.size + MOST_EXTRA

    def arrived(self) -> None:
        """A user has come on a connection: it was alive."""
        self._used.arrived()

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
        self._used.sample(idle)
        self._before, self._recent = self._recent, 0
        return max(0, self.size - idle - shared - opening)

    def _adjust(self) -> None:
        load, idle = _average(self._requests), _average(self._idle_sum)
        a, b, x, y = self._factors
        if load + a > idle * b:
            self.size += 1
        elif load + x < idle * y and self.size > self._configured:
            self.size -= 1
        self._samples = self._idle_sum = self._requests = 0


class _Used:
    """How many connections the server has used although they look idle here: requests without a user who arrived."""

    def __init__(self) -> None:
        self.count = 0
        self._least = 0  # of this period
        self._arrivals = 0  # in this period
        self._samples = 0

    def arrived(self) -> None:
        """A user has come."""
        self._arrivals += 1
        if self.count:
            self.count -= 1
            self._least = min(self._least, self.count)

    def sample(self, idle: int) -> None:
        """Forget those that have gone, and those that prove alive."""
        self.count = min(self.count, idle)
        self._samples += 1
        if self._samples == _FOUND_OUT:
            if self._arrivals:
                self.count = max(0, self.count - self._least)
            self._least = self.count
            self._arrivals = self._samples = 0


def _average(total: int) -> int:
    return -(-total // ADJUST_EVERY)  # rounded up, as v0.7.2 does
