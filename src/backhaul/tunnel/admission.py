"""The admission of users: lists of networks, and limits of users at a time and of new ones."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from backhaul.addresses import LOCAL, plain_ip
from backhaul.config.limits import ALL_PORTS, Limits, LimitTables
from backhaul.failures import network_of
from backhaul.token_bucket import TokenBucket, allowance

from .lists import Lists
from .network_files import NetworkFiles
from .sources import Sources

_REASONS: Final = {
    "allow": "not_allowed",
    "deny": "denied",
    "max_users": "users",
    "max_users_per_source": "source_users",
    "new_users_per_second": "new_users",
    "new_users_per_second_per_source": "source_new_users",
    "max_connections": "client_users",
}
"""The words of status and metrics, by limit."""
_QUOTA: Final = "quota"
"""The same for bytes of a day or month."""
_NO_EVENTS: Final = frozenset({"not_allowed", "denied", _QUOTA})


class Objection(NamedTuple):
    """The reason why a user is refused."""

    limit: str
    """The name of the limit, which is that of its key."""
    table: str
    """The table of the key."""

    @property
    def reason(self) -> str:
        """A word for status and metrics."""
        return _REASONS.get(self.limit, _QUOTA)

    @property
    def is_news(self) -> bool:
        """True for a reached limit that has not been reported yet; false for an unwanted address."""
        return self.reason not in _NO_EVENTS

    def __str__(self) -> str:
        name = f"{self.table}.{self.limit}"
        if self.limit == "allow":
            return f"no network of {name} or allow_file contains this address; add it there"
        if self.limit == "deny":
            return f"a network of {name} or deny_file contains this address; remove it there"
        return f"{name} is reached; raise it if these users are wanted"


class _Table:
    """The limits of one table, and the users that count towards it."""

    def __init__(self, name: str, limits: Limits, files: NetworkFiles, before: "_Table | None", now: float) -> None:
        """``before`` is the former table of the same users, whose arrivals still count."""
        self.name = name
        self._limits = limits
        self._lists = Lists(limits, files)
        self.arrivals: TokenBucket | None = allowance(
            before.arrivals if before else None, limits.new_users_per_second, now
        )
        self.sources = Sources(limits) if _counts_sources(limits) else None
        if self.sources and before and before.sources:
            self.sources.succeed(before.sources, now)

    def objection(self, ip: str, users: int, now: float) -> Objection | None:
        """Return why a user of this address may not enter beside ``users`` others, if so."""
        limit = self._lists.objection(ip) or self._full(users, now)
        if not limit and (sources := self._sources_for(ip)):
            limit = sources.objection(network_of(ip), now)
        return Objection(limit, self.name) if limit else None

    def enter(self, ip: str, now: float) -> None:
        """Count a new user."""
        if self.arrivals:
            self.arrivals.spend(now, 1)
        if sources := self._sources_for(ip):
            sources.enter(network_of(ip), now)

    def count(self, ip: str) -> None:
        """Count a user who was present before this table."""
        if sources := self._sources_for(ip):
            sources.count(network_of(ip))

    def leave(self, ip: str) -> None:
        """Count the end of a user."""
        if sources := self._sources_for(ip):
            sources.leave(network_of(ip))

    def used(self, users: int, now: float) -> dict[str, int]:
        """Return the use of each limit; ``users`` are those of this table."""
        return {
            "max_users": users,
            "max_users_per_source": self.sources.most if self.sources else 0,
            "new_users_per_second": math.ceil(self.arrivals.spent(now)) if self.arrivals else 0,
        }

    def listed(self) -> dict[str, int]:
        """Return the number of networks in each list."""
        return self._lists.sizes()

    def _sources_for(self, ip: str) -> Sources | None:
        """Return the sources, if there are limits for them, and a user of this address has one."""
        return None if ip == LOCAL else self.sources

    def _full(self, users: int, now: float) -> str:
        if self._limits.max_users and users >= self._limits.max_users:
            return "max_users"
        return "" if not self.arrivals or self.arrivals.has(now, 1) else "new_users_per_second"


class Admission:
    """Admits users to ports. The limits of all ports together, and those of the port, apply to each user.

    The users of a Unix socket have no address, so only limits for all users concern them.
    """

    def __init__(
        self,
        files: NetworkFiles,
        clock: Callable[[], float],
        present: Callable[[], int],
        used_up: Callable[[int, str], Objection | None],
    ) -> None:
        """Begin without limits.

        ``present`` returns the number of users of all ports, ``used_up`` objects to a port and an address because of
        their bytes.
        """
        self._used_up = used_up
        self._files = files
        self._clock = clock
        self._present = present
        self._tables: dict[int, _Table] = {}  # by port

    async def limit(self, tables: LimitTables, users: Iterable[tuple[int, str]]) -> None:
        """Use other limits; ``users`` holds port and address of the present ones.

        Raises BackhaulError if a file with networks is unusable; the limits stay as they are then.
        """
        await self._files.learn(tables.files)
        now, before = self._clock(), self._tables
        self._tables = {
            port: _Table(name, limits, self._files, before.get(port), now) for name, limits, port in tables.named()
        }
        for port, ip in users:
            for table in self._of(port):
                table.count(ip)

    def objection(self, port: int, address: tuple[Any, ...], users: int) -> Objection | None:
        """Return why a new user of ``port``, which has ``users`` others, is refused; otherwise count the user."""
        tables = self._of(port)
        if not tables:  # as on most servers
            return None
        ip, now = plain_ip(address), self._clock()
        for table in tables:
            others = self._present() if table is self._tables.get(ALL_PORTS) else users
            if objection := table.objection(ip, others, now):
                return objection
        if objection := self._used_up(port, ip):
            return objection
        for table in tables:
            table.enter(ip, now)
        return None

    def close(self) -> None:
        """Stop watching the files."""
        self._files.close()

    def used(self, port: int, users: int) -> dict[str, int]:
        """Return the use of the limits of a port, or of all ports with 0, which has ``users`` users."""
        return self._tables[port].used(users, self._clock()) if port in self._tables else {}

    def listed(self, port: int) -> dict[str, int]:
        """Return the number of networks in each list of a port, or of all ports with 0."""
        return self._tables[port].listed() if port in self._tables else {}

    def left(self, port: int, ip: str) -> None:
        """Count the end of a user."""
        for table in self._of(port):
            table.leave(ip)

    def _of(self, port: int) -> list[_Table]:
        tables = self._tables
        return [tables[one] for one in dict.fromkeys((ALL_PORTS, port)) if one in tables] if tables else []


def _counts_sources(limits: Limits) -> bool:
    return bool(limits.max_users_per_source or limits.new_users_per_second_per_source)
