"""The choice of the client for a group's next user. Each choice costs the same, however many clients there are."""

import bisect
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from backhaul.config.groups import Balance as Kind


class Choosable(Hashable, Protocol):
    """A client of a group."""

    @property
    def position(self) -> int:
        """Its place in the list of the configuration."""

    @property
    def users(self) -> int:
        """Its users of this group."""


Member = TypeVar("Member", bound=Choosable)


class Balance(ABC, Generic[Member]):
    """The members that may get users, and the choice among them."""

    @abstractmethod
    def add(self, member: Member) -> None:
        """Give users to a member; harmless for one that gets some already."""

    @abstractmethod
    def discard(self, member: Member) -> None:
        """Stop giving users to a member; harmless for one that gets none."""

    @abstractmethod
    def choose(self, ip: str) -> Member | None:
        """Return the member for a user at this address; None if there is none."""

    def moved(self, member: Member) -> None:
        """Note that a member has another number of users."""


class InOrder(Balance[Member]):
    """The first member of the list."""

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._members: dict[int, Member] = {}

    def add(self, member: Member) -> None:
        """Give users to a member."""
        if member.position not in self._members:
            bisect.insort(self._positions, member.position)
            self._members[member.position] = member

    def discard(self, member: Member) -> None:
        """Stop giving users to a member."""
        if self._members.pop(member.position, None):
            del self._positions[bisect.bisect_left(self._positions, member.position)]

    def choose(self, ip: str) -> Member | None:
        """Return the first member."""
        del ip
        return self._members[self._positions[0]] if self._positions else None


class BySource(Balance[Member]):
    """The same member for all users of an address while it is available; others share the users of an absent one."""

    def __init__(self, everyone: Sequence[Member]) -> None:
        self._everyone = everyone
        self._present: list[Member] = []
        self._places: dict[Member, int] = {}  # in that list

    def add(self, member: Member) -> None:
        """Give users to a member."""
        if member not in self._places:
            self._places[member] = len(self._present)
            self._present.append(member)

    def discard(self, member: Member) -> None:
        """Stop giving users to a member; the last one of the list moves to its place."""
        if member not in self._places:
            return
        place, last = self._places.pop(member), self._present.pop()
        if last is not member:
            self._present[place] = last
            self._places[last] = place

    def choose(self, ip: str) -> Member | None:
        """Return the member of this address."""
        if not self._present:
            return None
        number = zlib.crc32(ip.encode())
        usual = self._everyone[number % len(self._everyone)]
        if usual in self._places:
            return usual
        return self._present[number // len(self._everyone) % len(self._present)]


class Least(Balance[Member]):
    """The member with the fewest users of this group; among several the one that got none for longest."""

    def __init__(self) -> None:
        self._by_users: dict[int, OrderedDict[Member, None]] = {}
        self._fewest = 0  # no member has fewer
        self._users: dict[Member, int] = {}

    def add(self, member: Member) -> None:
        """Give users to a member."""
        if member not in self._users:
            self._put(member)

    def discard(self, member: Member) -> None:
        """Stop giving users to a member."""
        if member in self._users:
            self._take(member)

    def choose(self, ip: str) -> Member | None:
        """Return the member with the fewest users."""
        del ip
        if not self._users:
            return None
        while self._fewest not in self._by_users:
            self._fewest += 1
        return next(iter(self._by_users[self._fewest]))

    def moved(self, member: Member) -> None:
        """Note another number of users."""
        if member in self._users:
            self._take(member)
            self._put(member)

    def _put(self, member: Member) -> None:
        self._users[member] = member.users
        self._by_users.setdefault(member.users, OrderedDict())[member] = None
        self._fewest = min(self._fewest, member.users)

    def _take(self, member: Member) -> None:
        users = self._users.pop(member)
        alike = self._by_users[users]
        del alike[member]
        if not alike:
            del self._by_users[users]


def make_balance(kind: Kind, everyone: Sequence[Member]) -> Balance[Member]:
    """Return the balance of this kind, in which no member gets users yet; ``everyone`` is the whole group."""
    if kind == "source":
        return BySource(everyone)
    return Least() if kind == "least" else InOrder()
