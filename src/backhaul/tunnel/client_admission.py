"""The admission of users to single clients: lists of networks, and limits of new users."""

import math
from collections.abc import Callable, Iterable

from backhaul.config.limits import Limits
from backhaul.token_bucket import TokenBucket, allowance

from .admission import Objection
from .lists import Lists
from .network_files import NetworkFiles


class _Client:
    """The lists of a client, and the new users of a second."""

    def __init__(self, limits: Limits, files: NetworkFiles, before: TokenBucket | None, now: float) -> None:
        self.lists = Lists(limits, files)
        self.arrivals = allowance(before, limits.new_users_per_second, now)


class ClientAdmission:
    """Admits users to clients, beside the limits of ports."""

    def __init__(self, files: NetworkFiles, clock: Callable[[], float]) -> None:
        """Begin without limits; ``files`` holds the networks of the files that these name."""
        self._files = files
        self._clock = clock
        self._clients: dict[str, _Client] = {}

    def limit(self, clients: Iterable[tuple[str, Limits]]) -> None:
        """Use other limits."""
        now, before = self._clock(), {name: client.arrivals for name, client in self._clients.items()}
        self._clients = {name: _Client(limits, self._files, before.get(name), now) for name, limits in clients}

    def objection(self, client: str, ip: str) -> Objection | None:
        """Return why a new user of this client and address is refused, if so."""
        found = self._clients.get(client)
        if not found:
            return None
        limit = found.lists.objection(ip)
        if not limit and found.arrivals and not found.arrivals.has(self._clock(), 1):
            limit = "new_users_per_second"
        return Objection(limit, f"clients.{client}") if limit else None

    def enter(self, client: str) -> None:
        """Count a new user."""
        if (found := self._clients.get(client)) and found.arrivals:
            found.arrivals.spend(self._clock(), 1)

    def used(self, client: str) -> dict[str, int]:
        """Return the use of the limit of new users, if the client has one."""
        found = self._clients.get(client)
        if not found or not found.arrivals:
            return {}
        return {"new_users_per_second": math.ceil(found.arrivals.spent(self._clock()))}

    def listed(self, client: str) -> dict[str, int]:
        """Return the number of networks in each list of a client."""
        found = self._clients.get(client)
        return found.lists.sizes() if found else {}
