"""Users by source, which is an IPv4 address or a /64 of IPv6."""

from collections import OrderedDict
from typing import Final

from backhaul.config.limits import Limits
from backhaul.token_bucket import TokenBucket

_MOST_ALLOWANCES: Final = 4096  # sources; the bucket of most is full again within a second


class _Allowances:
    """The allowances of sources for new users; without a rate they have no bounds.

    They are few, so an attacker with many addresses costs no memory. The source without a new user for longest is
    forgotten first.
    """

    def __init__(self, rate: int, most: int) -> None:
        self._rate = rate
        self._most = most
        self.buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        """By source."""

    def __len__(self) -> int:
        return len(self.buckets)

    def has(self, source: str, now: float) -> bool:
        """Return whether a source may bring another user."""
        bucket = self.buckets.get(source)
        return not bucket or bucket.has(now, 1)

    def succeed(self, before: "_Allowances", now: float) -> None:
        """Go on with what is left of the allowances ``before``."""
        if not self._rate:
            return
        self.buckets = before.buckets
        for bucket in self.buckets.values():
            bucket.change(self._rate, self._rate, now)

    def spend(self, source: str, now: float) -> None:
        """Count a new user."""
        if not self._rate:
            return
        bucket = self.buckets.pop(source, None) or TokenBucket(self._rate, self._rate, now)
        bucket.spend(now, 1)
        self.buckets[source] = bucket
        if len(self.buckets) > self._most:
            self.buckets.popitem(last=False)


class Sources:
    """Counts users by source, and the new ones of a second."""

    def __init__(self, limits: Limits, *, most_allowances: int = _MOST_ALLOWANCES) -> None:
        self._most = limits.max_users_per_source
        self._users: dict[str, int] = {}
        self.allowances = _Allowances(limits.new_users_per_second_per_source, most_allowances)
        """The new users that each source may still bring."""

    def succeed(self, before: "Sources", now: float) -> None:
        """Go on with the allowances of ``before``, not with its users."""
        self.allowances.succeed(before.allowances, now)

    @property
    def known(self) -> int:
        """The number of entries that are remembered."""
        return len(self._users) + len(self.allowances)

    @property
    def most(self) -> int:
        """The users of the source that has the most."""
        return max(self._users.values(), default=0)

    def objection(self, source: str, now: float) -> str:
        """Return the name of the limit that another user would exceed, or nothing."""
        if self._most and self._users.get(source, 0) >= self._most:
            return "max_users_per_source"
        return "" if self.allowances.has(source, now) else "new_users_per_second_per_source"

    def enter(self, source: str, now: float) -> None:
        """Count a new user."""
        self.count(source)
        self.allowances.spend(source, now)

    def count(self, source: str) -> None:
        """Count a user without regard to the time of the arrival."""
        self._users[source] = self._users.get(source, 0) + 1

    def leave(self, source: str) -> None:
        """Count the end of a user; one who was not counted has no effect."""
        users = self._users.pop(source, 0) - 1
        if users > 0:
            self._users[source] = users
