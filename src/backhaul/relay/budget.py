"""A limit on the bytes that all connections of a process make it keep: for peers that do not read, above all."""

from typing import Final, Protocol

from backhaul.net.log_throttle import LogThrottle

from .reclaimer import Tide

DEFAULT_LIMIT: Final = 16 << 20
"""Bytes."""


class Holder(Protocol):
    """Keeps bytes, for a socket that does not take them or until the rest of them arrives."""

    def over_budget(self) -> None:
        """Drop the bytes, and end the connection with a reset."""


class Budget:
    """Counts all backlogs, and resets the largest ones when together they exceed ``limit`` bytes."""

    def __init__(self, limit: int, complaints: LogThrottle, tide: Tide) -> None:
        """``tide`` follows the bytes held."""
        self.limit = limit
        self.held = 0
        self._tide = tide
        self._complaints = complaints
        self._sizes: dict[Holder, int] = {}

    def hold(self, holder: Holder, size: int) -> None:
        """Note that ``holder`` holds ``size`` bytes now; it may be reset before this returns."""
        self.held += size - self._sizes.pop(holder, 0)
        if size:
            self._sizes[holder] = size
            if self.held > self.limit:
                self._reset_largest()
        self._tide.level(self.held)

    def _reset_largest(self) -> None:
        while self.held > self.limit:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            size = self._sizes[largest]
            self._complaints.warn(
                "budget",
                f"reset a connection for which {size >> 10} KiB were kept: all connections together keep more than "
                f"{self.limit >> 20} MiB; find the users or targets that do not read, or give the program more memory",
            )
            self.hold(largest, 0)
            largest.over_budget()
