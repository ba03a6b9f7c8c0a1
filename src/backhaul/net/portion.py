"""The bytes that a connection reads at a time: few while they cost much time, because all others wait meanwhile."""

from collections.abc import Callable
from time import thread_time
from typing import Final

MOST: Final = 1 << 18
"""Bytes per wake-up: four frames of the largest size. Bulk takes 0.1 to 0.5 ms."""
LEAST: Final = 1 << 12
"""Bytes per wake-up while they cost much. 256 KiB of the smallest frames take 22 ms."""
_LONG: Final = 5e-3  # seconds of CPU time for MOST bytes that are too many


class Portion:
    """Chooses the size of the next read of a connection by the time that the last one cost."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = MOST
        """Bytes of the next read, at most."""

    def take(
        self, data: memoryview, work: Callable[[memoryview], None], clock: Callable[[], float] = thread_time
    ) -> None:
        """Call ``work`` with the bytes of a read. A read of few bytes costs little, and tells little."""
        if len(data) < LEAST:
            work(data)
            return
        begun = clock()
        work(data)
        costly = (clock() - begun) * MOST > _LONG * len(data)
        self.size = LEAST if costly else min(2 * self.size, MOST)  # parts of a record cost nothing until it is complete
