"""The number of connections that serve one user after the other: when another is requested, and when some are closed.

Only the server assigns users, so only the server can close an idle connection without a race.
"""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from backhaul.net.deadlines import Deadlines

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from backhaul.relay.resources import Timekeeper

Member = TypeVar("Member", bound=Hashable)

_OVERDUE: Final = 60.0  # seconds for which an answer may still arrive; a longer outage ends the control channel
_RESERVED: Final = 2  # a half of the client's own pool is the reserve


class FleetOwner(Protocol):
    """The owner of the idle connections."""

    @property
    def idle(self) -> int:
        """The number of idle connections."""

    @property
    def waiting(self) -> int:
        """The number of users without a connection."""

    @property
    def dial_time(self) -> float:
        """The seconds that the client needs to open a connection, 0 if unknown."""

    def request(self) -> None:
        """Request a connection from the client."""

    def close_idle(self, count: int) -> None:
        """Close the connections that have been idle for longest."""


class Fleet(Generic[Member]):
    """The connections of one session, idle or with a user; those beyond the client's own pool are the surplus."""

    def __init__(self, timekeeper: "Timekeeper", owner: FleetOwner) -> None:
        self._timekeeper = timekeeper
        self._owner = owner
        self._members: set[Member] = set()
        self._asked: Deadlines[object] = Deadlines(timekeeper.patience.request, self._unanswered)
        self._overdue: Deadlines[object] = Deadlines(_OVERDUE, lambda _request: None)
        self._surplus = 0  # members that were requested
        self.reserve = 0
        """Idle connections beyond those for present users, so that a new user rarely waits for a dial."""
        self._least_idle = 0  # since the last look
        self._looking: TimerHandle | None = None  # set while there is a surplus

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def expect(self, users: int) -> None:
        """Request a connection for one of ``users``, unless those idle or on their way suffice for them all."""
        if self._coming < users + self.reserve:
            self._ask()

    def doubt(self, since: float) -> None:
        """Request a connection in place of one that has got a user after it was idle ``since``, if it may be dead."""
        if self._timekeeper.loop.time() - since >= self._timekeeper.patience.alive:
            self._ask()

    def require(self, users: int) -> None:
        """Request as many connections as the waiting ``users`` need."""
        for _ in range(users - self._coming):
            self._ask()

    def add(self, member: Member) -> None:
        """Count a new connection, which may answer a request."""
        self._members.add(member)
        requests = self._overdue if len(self._overdue) else self._asked
        if len(requests):
            requests.discard(requests.oldest())
            self._surplus += 1
            if not self._looking:
                self._look_later()
        self._reckon()

    def taken(self, idle: int) -> None:
        """Note that a connection has got a user, and how many are idle now."""
        self._least_idle = min(self._least_idle, idle)

    def discard(self, member: Member) -> None:
        """Forget a connection that is closed, or not reused; harmless if it is unknown."""
        if member in self._members:
            self._members.discard(member)
            self._surplus = max(0, self._surplus - 1)  # in either case there is one less
            self._reckon()

    def clear(self) -> set[Member]:
        """Forget all connections and requests, because the session has ended; return the connections."""
        members, self._members = self._members, set()
        self._asked.clear()
        self._overdue.clear()
        self._surplus = self.reserve = 0
        if self._looking:
            self._looking.cancel()
            self._looking = None
        return members

    @property
    def _coming(self) -> int:
        return self._owner.idle + len(self._asked)

    def _reckon(self) -> None:
        self.reserve = (len(self._members) - self._surplus) // _RESERVED

    def _ask(self) -> None:
        self._asked.seconds = max(self._timekeeper.patience.request, self._owner.dial_time)
        self._asked.add(object())
        self._owner.request()

    def _unanswered(self, _request: object) -> None:
        """Give up a request: the client may have failed to dial."""
        self._overdue.add(object())
        self.require(self._owner.waiting)

    def _look_later(self) -> None:
        self._least_idle = self._owner.idle
        self._looking = self._timekeeper.loop.call_later(self._timekeeper.patience.unused, self._look)

    def _look(self) -> None:
        """Close connections that no user has needed since the last look."""
        self._looking = None
        unused = min(self._least_idle - self.reserve, self._surplus)
        if unused > 0:
            self._owner.close_idle(unused)
        if self._surplus:
            self._look_later()
