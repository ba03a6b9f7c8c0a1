"""The limits of new users of single clients."""

import math
from collections.abc import Callable, Iterable

from backhaul.config.limits import Limits
from backhaul.token_bucket import TokenBucket

from .admission import Objection


class ClientArrivals:
    """Counts the new users of a second, by client."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin without limits."""
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}

    def limit(self, clients: Iterable[tuple[str, Limits]]) -> None:
        """Use other limits."""
        now = self._clock()
        rates = ((name, limits.new_users_per_second) for name, limits in clients)
        self._buckets = {name: TokenBucket(rate, rate, now) for name, rate in rates if rate}

    def objection(self, client: str) -> Objection | None:
        """Return why a new user of a client is refused, if so."""
        bucket = self._buckets.get(client)
        if not bucket or bucket.has(self._clock(), 1):
            return None
        return Objection("new_users_per_second", f"clients.{client}")

    def enter(self, client: str) -> None:
        """Count a new user."""
        if bucket := self._buckets.get(client):
            bucket.spend(self._clock(), 1)

    def used(self, client: str) -> dict[str, int]:
        """Return the use of the limit of a client."""
        bucket = self._buckets.get(client)
        return {"new_users_per_second": math.ceil(bucket.spent(self._clock()))} if bucket else {}
