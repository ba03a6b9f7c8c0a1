"""The bytes that a connection reads at a time: few while they cost much time, because all others wait meanwhile."""

from collections.abc import Callable
from time import thread_time
from typing import Final

MOST: Final = 1 << 18
"""Bytes per wake-up: four frames of the largest size. Bulk takes 0.1 to 0.5 ms."""
LEAST: Final = 1 << 12
"""Bytes per wake-up while they cost much; 256 KiB of the smallest frames take 22 ms. Fewer tell nothing."""
_LONG: Final = 5e-3  # seconds of CPU time for MOST bytes that are too many


def handle(
    data: memoryview, portion: int, work: Callable[[memoryview], None], clock: Callable[[], float] = thread_time
) -> int:
    """Call ``work`` with the bytes of a read of up to ``portion``; return the bytes of the next one by what it cost."""
    begun = clock()
    work(data)
    if (clock() - begun) * MOST > _LONG * len(data):
        return LEAST
    return min(2 * portion, MOST)  # step by step: parts of a record cost nothing until it is complete
