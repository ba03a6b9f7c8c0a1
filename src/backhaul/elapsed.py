"""A clock that is never set, and goes on while the machine sleeps."""

import time
from typing import Final

# macOS has no such clock; that of the event loop may stop while the machine sleeps.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return the seconds since some moment before this process started."""
    return time.clock_gettime(_CLOCK)
