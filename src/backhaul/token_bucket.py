"""A token bucket: an allowance that grows steadily up to a limit and may fall into debt."""


class TokenBucket:
    """``rate`` tokens a second, and ``burst`` of them at most at a time.

    The caller passes the time, so the arithmetic needs no clock.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Begin full. ``rate`` and ``burst`` are greater than 0."""
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated = now

    def has(self, now: float, count: float) -> bool:
        """Return whether ``count`` tokens are available."""
        return self._refill(now) >= count

    def spend(self, now: float, count: float) -> None:
        """Take ``count`` tokens, which may leave a debt."""
        self._tokens = self._refill(now) - count

    def spent(self, now: float) -> float:
        """Return the tokens that are missing to a full bucket."""
        return self._burst - self._refill(now)

    def wait(self, now: float) -> float:
        """Return the seconds until no debt is left; 0 without one."""
        return max(0.0, -self._refill(now) / self._rate)

    def _refill(self, now: float) -> float:
        if now > self._updated:
            self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
            self._updated = now
        return self._tokens
