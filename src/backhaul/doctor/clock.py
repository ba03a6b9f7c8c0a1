"""The check of this machine's clock against the server's."""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from .finding import Finding, ok, skipped, warning
from .wording import span

SUBJECT: Final = "clock"
TOLERANCE: Final = 30.0
"""Seconds of a difference that do not matter: a Date header has whole ones, and the line takes some."""
_REMEDY: Final = "set the clock that is wrong; `timedatectl set-ntp true` keeps it right"
_ANY_TIMEX: Final = 512  # bytes, more than struct timex of adjtimex(2) has
_UNSYNCHRONISED: Final = 5  # TIME_ERROR


def compare(here: float, there: float) -> Finding:
    """Return the finding about two clocks, read at the same time."""
    off = there - here
    if abs(off) <= TOLERANCE:
        return ok(SUBJECT, "the clocks of both ends agree")
    direction = "behind" if off > 0 else "ahead of"
    return warning(SUBJECT, f"this machine's clock is {span(abs(off))} {direction} the server's", _REMEDY)


def synchronised() -> Iterator[Finding]:
    """Yield the kernel's opinion of the clock."""
    state = None
    with suppress(OSError, AttributeError):  # no such call on this system
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_ANY_TIMEX))
    if state is None or state < 0:
        yield skipped(SUBJECT, "this system does not report whether the clock is synchronised")
    elif state == _UNSYNCHRONISED:
        remedy = "`timedatectl set-ntp true`, or another NTP client"
        yield warning(SUBJECT, "nothing synchronises this machine's clock", remedy)
    else:
        yield ok(SUBJECT, "synchronised")
