"""A limit on the bytes that all connections of a process make it keep: for peers that do not read, above all."""

from collections import defaultdict
from collections.abc import Hashable
from typing import Final, Protocol

from backhaul.net.log_throttle import LogThrottle

from .reclaimer import Tide

DEFAULT_LIMIT: Final = 16 << 20
"""Bytes."""

_STEP: Final = 64  # part of the limit that is freed at once: looking at all holders takes a microsecond for each

ANYBODY: Final = "anybody"
"""The owner of connections whose owner is not known."""


class Holder(Protocol):
    """Keeps bytes, for a socket that does not take them or until the rest of them arrives."""

    @property
    def owner(self) -> Hashable:
        """The transport for whose users or connections it keeps them."""

    def over_budget(self) -> None:
        """Drop the bytes, and end the connection with a reset."""


class Budget:
    """Counts all backlogs. When they exceed ``limit`` bytes it resets the largest ones of the owner that has most."""

    def __init__(self, limit: int, complaints: LogThrottle, tide: Tide) -> None:
        """``tide`` follows the bytes held."""
        self.limit = limit
        self.held = 0
        self._tide = tide
        self._complaints = complaints
        self._sizes: dict[Holder, int] = {}
        self._resetting = False

    def hold(self, holder: Holder, size: int) -> None:
        """Note that ``holder`` holds ``size`` bytes now; it may be reset before this returns."""
        self.held += size - self._sizes.pop(holder, 0)
        if size:
            self._sizes[holder] = size
            if self.held > self.limit and not self._resetting:
                self._resetting = True
                try:
                    self._make_room()
                finally:
                    self._resetting = False
        self._tide.level(self.held)

    def _make_room(self) -> None:
        """Reset the largest backlog of the owner that has most, again and again.

        Otherwise the many backlogs of one client would cost the users of another one their larger ones.
        """
        sizes = dict(self._sizes)
        backlogs: defaultdict[Hashable, list[Holder]] = defaultdict(list)
        for holder in sorted(sizes, key=sizes.__getitem__):
            backlogs[holder.owner].append(holder)
        totals = {owner: sum(map(sizes.__getitem__, holders)) for owner, holders in backlogs.items()}
        enough = self.limit - self.limit // _STEP
        for _ in sizes:
            if self.held <= enough:
                return
            owner = max(totals, key=totals.__getitem__)
            holder = backlogs[owner].pop()
            totals[owner] -= sizes[holder]
            self._reset(holder)

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
