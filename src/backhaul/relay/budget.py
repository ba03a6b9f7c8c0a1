"""A limit on the bytes that all connections of a process make it keep: for peers that do not read, above all."""

from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Final, Protocol

from backhaul.net.log_throttle import LogThrottle

from .reclaimer import Tide

DEFAULT_LIMIT: Final = 16 << 20
"""Bytes."""

_STEP: Final = 64  # part of the limit that is freed at once: looking at all holders takes a microsecond for each

_NO_PART: Final = ""

ANYBODY: Final = "anybody"
"""The owner of connections whose owner is not known."""


class Holder(Protocol):
    """Keeps bytes, for a socket that does not take them or until the rest of them arrives."""

    @property
    def owner(self) -> Hashable:
        """The transport for whose users or connections it keeps them."""

    def over_budget(self) -> None:
        """Drop the bytes, and end the connection with a reset."""


class _Share:
    """The backlogs of one owner by part, the largest last."""

    def __init__(self) -> None:
        self.total = 0
        self._totals: defaultdict[Hashable, int] = defaultdict(int)
        self._holders: defaultdict[Hashable, list[Holder]] = defaultdict(list)

    def add(self, holder: Holder, size: int, part: Hashable) -> None:
        """Add a backlog that is no smaller than the others."""
        self.total += size
        self._totals[part] += size
        self._holders[part].append(holder)

    def pop(self, sizes: Mapping[Holder, int]) -> Holder:
        """Remove and return the largest backlog of the part that has most."""
        part = max(self._totals, key=self._totals.__getitem__)
        holder = self._holders[part].pop()
        self.total -= sizes[holder]
        self._totals[part] -= sizes[holder]
        return holder


class Budget:
    """Counts all backlogs. When they exceed ``limit`` bytes it resets the largest ones of the owner that has most."""

    def __init__(self, limit: int, complaints: LogThrottle, tide: Tide) -> None:
        """``tide`` follows the bytes held."""
        self.limit = limit
        self.held = 0
        self._tide = tide
        self._complaints = complaints
        self._sizes: dict[Holder, int] = {}
        self._parts: dict[Holder, Hashable] = {}
        self._resetting = False

    def hold(self, holder: Holder, size: int, part: Hashable = _NO_PART) -> None:
        """Note that ``holder`` holds ``size`` bytes now; it may be reset before this returns.

        ``part`` is the port or target for whose users it holds them.
        """
        self.held += size - self._sizes.pop(holder, 0)
        self._parts.pop(holder, None)
        if size:
            self._sizes[holder] = size
            self._parts[holder] = part
            if self.held > self.limit and not self._resetting:
                self._resetting = True
                try:
                    self._make_room()
                finally:
                    self._resetting = False
        self._tide.level(self.held)

    def _make_room(self) -> None:
        """Reset the largest backlog of the owner that has most, in its part that has most, again and again.

        Otherwise the many backlogs of one client, or of one of its ports, would cost the users of another one their
        larger ones.
        """
        sizes = dict(self._sizes)
        owners: defaultdict[Hashable, _Share] = defaultdict(_Share)
        for holder in sorted(sizes, key=sizes.__getitem__):
            owners[holder.owner].add(holder, sizes[holder], self._parts[holder])
        enough = self.limit - self.limit // _STEP
        for _ in sizes:
            if self.held <= enough:
                return
            share = max(owners.values(), key=lambda share: share.total)
            self._reset(share.pop(sizes))

    def _reset(self, holder: Holder) -> None:
        size = self._sizes.get(holder, 0)
        if not size:  # it has ended together with another one
            return
        self._complaints.warn(
            "budget",
            f"reset a connection for which {size >> 10} KiB were kept: all connections together keep more than "
            f"{self.limit >> 20} MiB; find the users or targets that do not read, or give the program more memory",
        )
        self.hold(holder, 0)
        holder.over_budget()
