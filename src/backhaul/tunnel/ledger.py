"""The bytes that users have moved in the present day and month, by limit and source.

Those of the days and months that were present before are kept for a while, because a clock may be wrong for a moment:
that of a small computer begins in 1970, until the network has told it the time.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, NamedTuple, Protocol

import msgspec
from msgspec import Meta, Struct

from backhaul.config.quantities import zone_of
from backhaul.errors import UNREADABLE

MAX_FILE: Final = 4 << 20
"""Bytes of the file; an entry takes less than 200."""
MOST: Final = 8192
"""Entries kept of a day or month: those with the most bytes."""

_FIRST_DAY: Final = "2026-01-01"
"""Before it this program did not exist, so a clock that is earlier is not set yet."""
_FORMER: Final = 2  # days and months kept besides the present ones
_FORMER_PART: Final = 8  # of the entries: the file must stay small

Key = tuple[str, str]
"""The table of a limit, and a source; all sources together without one."""
Counts = dict[Key, int]
"""Bytes of one day or month."""


class Bytes(NamedTuple):
    """Bytes of a day, and of its month."""

    day: int = 0
    month: int = 0


NOTHING: Final = Bytes()


def day_at(now: float, zone: str) -> str:
    """Return the day of a time in seconds since 1970, such as ``2026-11-26``; it begins with the month."""
    return datetime.fromtimestamp(now, zone_of(zone)).date().isoformat()


def month_of(day: str) -> str:
    """Return the month of a day."""
    return day[:7]


def _is_month(period: str) -> bool:
    return period == month_of(period)


def _recent(periods: Iterable[str]) -> list[str]:
    """Return the periods to keep of ``periods``, of which the present day and month were used last."""
    ordered = list(periods)
    months = [one for one in ordered if _is_month(one)][-1 - _FORMER :]
    days = [one for one in ordered if not _is_month(one)][-1 - _FORMER :]
    return [one for one in ordered if one in months or one in days]


def _largest(entries: Counts, most: int) -> Counts:
    """Keep the sums of all sources, and of single ones those with the most bytes: a flood of sources moves few."""
    if len(entries) <= most:
        return entries
    return dict(heapq.nlargest(most, entries.items(), key=lambda entry: (not entry[0][1], entry[1])))


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


class _Book:
    """The bytes of one day or month, and the part of them that is stored."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.counts: Counts = {}
        self._stored: Counts = {}

    def add(self, key: Key, count: int) -> int:
        """Count bytes; return those of this key."""
        counts = self.counts
        if key not in counts and len(counts) >= 2 * self._most:
            counts = self.counts = _largest(counts, self._most)
            self._stored = {key: count for key, count in self._stored.items() if key in counts}
        counts[key] = total = counts.get(key, 0) + count
        return total

    def new(self, key: Key) -> int:
        """Return the bytes that the store does not have."""
        return self.counts.get(key, 0) - self._stored.get(key, 0)

    def adopt(self, key: Key, stored: int, drafted: int) -> None:
        """Use the content of the store, to which ``drafted`` was added."""
        self.add(key, stored - self._stored.get(key, 0) - drafted)
        self._stored[key] = stored


class Ledger:
    """The bytes by limit and source.

    The number of entries is bounded. The ones with the fewest bytes are forgotten first.
    """

    def __init__(self, day: str, most: int = MOST) -> None:
        self._most = most
        self._books: dict[str, _Book] = {}  # by day or month; the present ones are the last
        self._begin(day)

    def add(self, key: Key, count: int) -> Bytes:
        """Count bytes; return those of this key."""
        return Bytes(self._today.add(key, count), self._this_month.add(key, count))

    def used(self, key: Key) -> Bytes:
        """Return the bytes of this key."""
        return Bytes(self._today.counts.get(key, 0), self._this_month.counts.get(key, 0))

    def knows(self, key: Key) -> bool:
        """Return whether bytes of this key are known."""
        return key in self._this_month.counts or key in self._today.counts

    def known(self) -> Collection[Key]:
        """Return all keys with bytes."""
        return {*self._this_month.counts, *self._today.counts}

    def turn(self, day: str) -> bool:
        """Begin another day, and perhaps another month; return whether it has begun.

        While the clock is not set, the last known day goes on.
        """
        if day < _FIRST_DAY:
            day = next((one for one in reversed(self._books) if one >= _FIRST_DAY and not _is_month(one)), day)
        if day == self.day:
            return False
        self._begin(day)
        return True

    def _begin(self, day: str) -> None:
        self.day = day
        self._this_month, self._today = (self._open(period) for period in self._present)
        self._books = {period: self._books[period] for period in _recent(self._books)}

    def _open(self, period: str) -> _Book:
        """Return the book of this day or month, which is the last one from now on."""
        book = self._books.pop(period) if period in self._books else _Book(self._most)
        self._books[period] = book
        return book

    @property
    def _present(self) -> tuple[str, str]:
        return month_of(self.day), self.day

    def draft(self) -> "Draft":
        """Return an empty draft of the bytes to be stored now."""
        return Draft(self._present, self._most)

    def fill(self, draft: "Draft") -> Iterator[None]:
        """Put the bytes to be stored into ``draft``, step by step; bytes may be counted meanwhile."""
        for period, book in self._books.items():
            draft.new[period] = {}
            for key in list(book.counts):
                if count := book.new(key):
                    draft.new[period][key] = count
                yield

    def adopt(self, draft: "Draft") -> Iterator[None]:
        """Use the bytes that ``draft`` has stored, and those that other processes have counted, step by step."""
        former = {period: _Book(self._most) for period in draft.stored if period not in self._books}
        self._books = former | self._books
        for period, book in self._books.items():
            stored, new = draft.stored.get(period, {}), draft.new.get(period, {})
            for key in {*stored, *new}:
                book.adopt(key, stored.get(key, 0), new.get(key, 0))
                yield


class _Entry(Struct, frozen=True, omit_defaults=True):
    limit: str
    used: Annotated[int, Meta(ge=0)]
    source: str = ""


class _Period(Struct, frozen=True):
    name: str
    used: tuple[_Entry, ...]


class _Document(Struct, frozen=True):
    periods: tuple[_Period, ...]


class Draft:
    """Bytes that are about to be stored."""

    def __init__(self, present: Sequence[str], most: int) -> None:
        """``present`` are the day and the month."""
        self.new: dict[str, Counts] = {}
        self.stored: dict[str, Counts] = {}
        self.broken = False
        """True if the old content was corrupt."""
        self._present = present
        self._most = most

    def onto(self, old: bytes) -> bytes:
        """Return the content with these bytes added to those of ``old``; may run in a thread."""
        periods = self._read(old)
        for period, counts in self.new.items():
            entries = periods.setdefault(period, {})
            for key, count in counts.items():
                entries[key] = entries.get(key, 0) + count
        for period in self._present:  # the last ones
            periods[period] = periods.pop(period, {})
        self.stored = {period: self._bounded(period, periods[period]) for period in _recent(periods)}
        return _written(self.stored)

    def _bounded(self, period: str, entries: Counts) -> Counts:
        return _largest(entries, self._most if period in self._present else self._most // _FORMER_PART)

    def _read(self, old: bytes) -> dict[str, Counts]:
        if not old:
            return {}
        try:
            document = msgspec.json.decode(old, type=_Document)
        except UNREADABLE:
            self.broken = True
            return {}
        return {period.name: {(one.limit, one.source): one.used for one in period.used} for period in document.periods}


def _written(periods: Mapping[str, Counts]) -> bytes:
    if not any(periods.values()):
        return b""
    document = _Document(
        tuple(
            _Period(name, tuple(_Entry(limit, used, source) for (limit, source), used in counts.items()))
            for name, counts in periods.items()
        )
    )
    return msgspec.json.encode(document) + b"\n"
