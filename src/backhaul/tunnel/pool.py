"""The number of idle tunnel connections that a client keeps: v0.7.2's rule, arithmetic only.

Every 10 seconds the average load (requests per second) is compared with the average number of idle connections. The
pool grows by one if ``load + a > idle * b``, and shrinks by one if ``load + x < idle * y``, but never below its
configured size.

The server requests a connection whenever it uses one, so an arriving user follows each request. If none arrives, the
server has used a connection that is dead but looks idle here, for example because a NAT has forgotten it. Connections
used by the server do not count as idle.
"""

from typing import NamedTuple

ADJUST_EVERY = 10  # samples, one a second
MOST_EXTRA = 64  # idle connections above the size of the pool, if the server keeps asking and no user arrives
# Samples after which the kernel has found dead connections: 35 s of silence, and a little more for those requested in
# the meantime. Connections still idle are alive: the user for whom one was requested had left before it was open.
_FOUND_OUT = 80


class Factors(NamedTuple):
    """The factors of the rule."""

    a: int
    b: int
    x: int
    y: float


NORMAL = Factors(4, 5, 3, 4.0)
AGGRESSIVE = Factors(1, 2, 0, 0.75)


class PoolSize:
    """Follows demand; the caller samples once a second and reports each request of the server."""

    def __init__(self, configured: int, *, aggressive: bool) -> None:
        self._configured = configured
        self._factors = AGGRESSIVE if aggressive else NORMAL
        self._samples = 0
        self._idle_sum = 0
        self._requests = 0
        self._surplus = 0
        self._least_idle = 0
        self._used = _Used()
        self._recent = 0  # requests since the last sample
        self._before = 0  # requests in the second before: their connections may be on their way to a user
        self.size = configured

    def requested(self, idle: int) -> bool:
        """Return whether to dial a connection requested by the server: not while more than enough are idle.

        ``idle`` counts only connections that need no replacement.
        """
        self._requests += 1
        self._least_idle = min(self._least_idle, idle)
        live, unused = idle - self._used.count, idle - self._recent - self._before
        self._used.count += 1
        self._recent += 1
        if self._surplus > 0 and live > self.size:
            self._surplus -= 1
            return False
        return unused < self.size + MOST_EXTRA

    def arrived(self) -> None:
        """Note that a user has arrived on a connection, which was alive."""
        self._used.arrived()

    def sample(self, idle: int, opening: int, shared: int = 0) -> int:
        """Take the figures of this second; return the number of connections to dial in place of dead ones.

        ``shared`` connections have users and accept more: they count as idle ones do.
        """
        self._samples += 1
        self._idle_sum += idle + shared
        if self._samples == ADJUST_EVERY:
            self._adjust()
        # Under load many connections that look idle here are in use on the other end: only those that were idle for a
        # whole second are surplus.
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
    """Counts connections used by the server that look idle here: requests without an arriving user."""

    def __init__(self) -> None:
        self.count = 0
        self._least = 0  # of this period
        self._arrivals = 0  # in this period
        self._samples = 0

    def arrived(self) -> None:
        """Note the arrival of a user."""
        self._arrivals += 1
        if self.count:
            self.count -= 1
            self._least = min(self._least, self.count)

    def sample(self, idle: int) -> None:
        """Forget the connections that are closed, and those that proved to be alive."""
        self.count = min(self.count, idle)
        self._samples += 1
        if self._samples == _FOUND_OUT:
            if self._arrivals:
                self.count = max(0, self.count - self._least)
            self._least = self.count
            self._arrivals = self._samples = 0


def _average(total: int) -> int:
    return -(-total // ADJUST_EVERY)  # rounded up, as v0.7.2 does
