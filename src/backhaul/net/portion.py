"""The bytes that a connection reads at a time: few while they cost much time, because all others wait meanwhile."""

from collections.abc import Callable
from time import thread_time
from typing import Final

MOST: Final = 1 << 18
"""Bytes per wake-up: four frames of the largest size."""
FIRST: Final = 1 << 12
"""Bytes of the first read of a connection whose bytes may cost much: opening streams costs 1 ms a kilobyte."""
LEAST: Final = 1 << 10
"""Bytes per wake-up while they cost most, with TLS a whole record. Fewer tell nothing."""
_FAIR: Final = 5e-4  # seconds of CPU time for a read; MOST bytes of bulk take 0.1 ms, of the smallest frames 22 ms


def handle(
    data: memoryview, portion: int, work: Callable[[memoryview], None], clock: Callable[[], float] = thread_time
) -> int:
    """Call ``work`` with the bytes of a read of up to ``portion``; return the bytes of the next one by what it cost."""
    begun = clock()
    work(data)
    seconds = clock() - begun
    if seconds <= _FAIR / 2:
        return min(2 * portion, MOST)  # step by step: parts of a record cost nothing until it is complete
    return max(LEAST, min(portion, int(len(data) * _FAIR / seconds)))
