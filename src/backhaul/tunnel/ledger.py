"""The bytes that users have moved in the present day and month, by limit and source."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Final, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

from backhaul.config.quantities import zone_of
from backhaul.errors import UNREADABLE

MAX_FILE: Final = 2 << 20
"""Bytes of the file; an entry takes less than 200."""
MOST: Final = 8192
"""Entries kept: those with the most bytes."""

Key = tuple[str, str]
"""The table of a limit, and a source; all sources together without one."""


class Bytes(NamedTuple):
    """Bytes of a day, and of its month."""

    day: int = 0
    month: int = 0

    def plus(self, other: "Bytes") -> "Bytes":
        """Return the sum of both."""
        return Bytes(self.day + other.day, self.month + other.month)

    def minus(self, other: "Bytes") -> "Bytes":
        """Return what this has more than the other."""
        return Bytes(self.day - other.day, self.month - other.month)


NOTHING: Final = Bytes()


def day_at(now: float, zone: str) -> str:
    """Return the day of a time in seconds since 1970, such as ``2026-11-26``; it begins with the month."""
    return datetime.fromtimestamp(now, zone_of(zone)).date().isoformat()


def month_of(day: str) -> str:
    """Return the month of a day."""
    return day[:7]


def _carried_over(used: Bytes, then: str, now: str) -> Bytes:
    """Return the part of bytes up to the day ``then`` that counts on the day ``now``."""
    return Bytes(used.day if then == now else 0, used.month if month_of(then) == month_of(now) else 0)


def _turned(entries: Mapping[Key, Bytes], then: str, now: str) -> dict[Key, Bytes]:
    turned = {key: _carried_over(used, then, now) for key, used in entries.items()}
    return {key: used for key, used in turned.items() if used != NOTHING}


Entry = TypeVar("Entry", Bytes, "Account")


def _largest(entries: dict[Key, Entry], most: int) -> dict[Key, Entry]:
    """Keep the sums of all sources, and of single ones those with the most bytes: a flood of sources moves few."""
    if len(entries) <= most:
        return entries
    return dict(heapq.nlargest(most, entries.items(), key=lambda entry: (not entry[0][1], entry[1].month)))


class Store(Protocol):
    """A file that other processes may change, too."""

    def update(self, change: Callable[[bytes], bytes]) -> None:
        """Replace the content by that of ``change``; raise OSError."""


class Nowhere:
    """A store that keeps nothing."""

    def update(self, change: Callable[[bytes], bytes]) -> None:
        """Let the content be empty."""
        change(b"")


NOWHERE: Final = Nowhere()


class Account:
    """The bytes of one limit and source in the present day and month, and the part of them that is stored."""

    __slots__ = ("day", "month", "stored")

    def __init__(self) -> None:
        self.day = 0
        self.month = 0
        self.stored = NOTHING

    @property
    def new(self) -> Bytes:
        """The bytes that the store does not have."""
        return Bytes(self.day, self.month).minus(self.stored)

    def turn(self, then: str, now: str) -> None:
        """Let another day begin."""
        self.day, self.month = _carried_over(Bytes(self.day, self.month), then, now)
        self.stored = _carried_over(self.stored, then, now)

    def adopt(self, stored: Bytes, drafted: Bytes) -> None:
        """Use the content of the store, to which ``drafted`` was added."""
        self.day, self.month = stored.plus(self.new.minus(drafted))
        self.stored = stored


class Ledger:
    """The bytes by limit and source.

    The number of entries is bounded. The ones with the fewest bytes are forgotten first.
    """

    def __init__(self, day: str, most: int = MOST) -> None:
        self.day = day
        self._most = most
        self._accounts: dict[Key, Account] = {}

    def add(self, key: Key, count: int) -> Account:
        """Count bytes; return the account of this key."""
        account = self._accounts.get(key) or self._open(key)
        account.day += count
        account.month += count
        return account

    def used(self, key: Key) -> Bytes:
        """Return the bytes of this key."""
        account = self._accounts.get(key)
        return Bytes(account.day, account.month) if account else NOTHING

    def knows(self, key: Key) -> bool:
        """Return whether this key has an account."""
        return key in self._accounts

    def accounts(self) -> Iterable[tuple[Key, Account]]:
        """Return all accounts."""
        return self._accounts.items()

    def turn(self, day: str) -> bool:
        """Begin another day, and perhaps another month; return whether it has begun."""
        if day == self.day:
            return False
        for account in self._accounts.values():
            account.turn(self.day, day)
        self._accounts = {key: account for key, account in self._accounts.items() if account.month}
        self.day = day
        return True

    def draft(self) -> "Draft":
        """Return an empty draft of the bytes to be stored today."""
        return Draft(self.day, self._most)

    def fill(self, draft: "Draft") -> Iterator[None]:
        """Put the bytes to be stored into ``draft``, step by step; bytes may be counted meanwhile."""
        for key, account in list(self._accounts.items()):
            if account.month != account.stored.month:
                draft.new[key] = account.new
            yield

    def adopt(self, draft: "Draft") -> Iterator[None]:
        """Use the bytes that ``draft`` has stored, and those that other processes have counted, step by step."""
        for key in {*draft.stored, *draft.new}:
            account = self._accounts.get(key) or self._open(key)
            account.adopt(draft.stored.get(key, NOTHING), draft.new.get(key, NOTHING))
            yield

    def _open(self, key: Key) -> Account:
        if len(self._accounts) >= 2 * self._most:
            self._accounts = _largest(self._accounts, self._most)
        return self._accounts.setdefault(key, Account())


class _Entry(Struct, frozen=True, omit_defaults=True):
    limit: str
    day: Annotated[int, Meta(ge=0)] = 0
    month: Annotated[int, Meta(ge=0)] = 0
    source: str = ""


class _Document(Struct, frozen=True):
    day: str
    used: tuple[_Entry, ...]


class Draft:
    """Bytes that are about to be stored."""

    def __init__(self, day: str, most: int) -> None:
        self.new: dict[Key, Bytes] = {}
        self.stored: dict[Key, Bytes] = {}
        self.broken = False
        """True if the old content was corrupt."""
        self._day = day
        self._most = most

    def onto(self, old: bytes) -> bytes:
        """Return the content with these bytes added to those of ``old``; may run in a thread."""
        entries = self._read(old)
        for key, used in self.new.items():
            entries[key] = entries.get(key, NOTHING).plus(used)
        self.stored = _largest(entries, self._most)
        return self._written(self.stored)

    def _read(self, old: bytes) -> dict[Key, Bytes]:
        if not old:
            return {}
        try:
            document = msgspec.json.decode(old, type=_Document)
        except UNREADABLE:
            self.broken = True
            return {}
        entries = {(one.limit, one.source): Bytes(one.day, one.month) for one in document.used}
        return _turned(entries, document.day, self._day)

    def _written(self, entries: Mapping[Key, Bytes]) -> bytes:
        if not entries:
            return b""
        used = tuple(_Entry(limit, used.day, used.month, source) for (limit, source), used in entries.items())
        return msgspec.json.encode(_Document(self._day, used)) + b"\n"
