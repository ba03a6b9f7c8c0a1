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

    def change(self, rate: float, burst: float, now: float) -> None:
        """Use another rate and burst from now on; what is spent stays so, and a debt is at most the new burst."""
        tokens = self._refill(now)
        if (rate, burst) != (self._rate, self._burst):
            self._tokens = max(min(tokens, burst), -burst)
            self._rate, self._burst = rate, burst

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


def allowance(before: TokenBucket | None, rate: int, now: float) -> TokenBucket | None:
    """Return a bucket for ``rate`` events a second, or None without a rate; it goes on with what is left ``before``."""
    if not rate:
        return None
    bucket = before or TokenBucket(rate, rate, now)
    bucket.change(rate, rate, now)
    return bucket
