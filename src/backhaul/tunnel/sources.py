"""Users by source, which is an IPv4 address or a /64 of IPv6."""

from collections import OrderedDict
from typing import Final

from backhaul.config.limits import Limits
from backhaul.token_bucket import TokenBucket

_MOST_RESTING: Final = 4096  # sources without users; of most the bucket is full again within a second


class _Source:
    """The users of one source, and the allowance for new ones."""

    __slots__ = ("arrivals", "users")

    def __init__(self, arrivals: TokenBucket) -> None:
        self.users = 0
        self.arrivals = arrivals


class Sources:
    """Counts users by source. Sources without users are few, so an attacker with many addresses costs no memory."""

    def __init__(self, limits: Limits, *, most_resting: int = _MOST_RESTING) -> None:
        self._most = limits.max_users_per_source
        self._rate = limits.new_users_per_second_per_source
        self._most_resting = most_resting
        self._active: dict[str, _Source] = {}
        self._resting: OrderedDict[str, _Source] = OrderedDict()  # the longest without users first

    @property
    def known(self) -> int:
        """The number of sources that are remembered."""
        return len(self._active) + len(self._resting)

    def objection(self, source: str, now: float) -> str:
        """Return the name of the limit that another user would exceed, or nothing."""
        known = self._active.get(source) or self._resting.get(source)
        if not known:
            return ""
        if self._most and known.users >= self._most:
            return "max_users_per_source"
        return "" if not self._rate or known.arrivals.has(now, 1) else "new_users_per_second_per_source"

    def enter(self, source: str, now: float) -> None:
        """Count a new user."""
        self.count(source, now).arrivals.spend(now, 1)

    def count(self, source: str, now: float) -> _Source:
        """Count a user without regard to the time of the arrival."""
        known = self._active.get(source)
        if not known:
            known = self._resting.pop(source, None) or _Source(TokenBucket(self._rate or 1, self._rate or 1, now))
            self._active[source] = known
        known.users += 1
        return known

    def leave(self, source: str) -> None:
        """Count the end of a user; one who was not counted has no effect."""
        known = self._active.get(source)
        if not known:
            return
        known.users -= 1
        if known.users:
            return
        self._resting[source] = self._active.pop(source)
        if len(self._resting) > self._most_resting:
            self._resting.popitem(last=False)
