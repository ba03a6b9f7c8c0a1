"""A sliding window over sequence numbers, so that nothing that was recorded is accepted twice (RFC 6479).

The window is one integer whose lowest bit stands for the highest number seen. Unlike the RFC's ring of words it needs
no index, and shifting 1024 bits takes 0.1 µs.
"""

from typing import Final

SIZE: Final = 1024
"""Numbers that may still arrive after a higher one: more than the packets that a path reorders."""


class ReplayWindow:
    """The numbers that have been used; they begin at 0. Only for numbers whose authenticity was checked."""

    __slots__ = ("_highest", "_mask", "_seen", "_size")

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._highest = -1
        self._seen = 0

    def fresh(self, number: int) -> bool:
        """Return whether ``number`` has not been used and is not too old to tell."""
        behind = self._highest - number
        return behind < 0 or (behind < self._size and not self._seen >> behind & 1)

    def use(self, number: int) -> bool:
        """Mark ``number`` as used; return whether it was fresh."""
        if not self.fresh(number):
            return False
        self.mark(number)
        return True

    def mark(self, number: int) -> None:
        """Mark a fresh number as used."""
        ahead = number - self._highest
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & self._mask if ahead < self._size else 1
            self._highest = number
        else:
            self._seen |= 1 << -ahead
