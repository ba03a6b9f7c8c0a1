"""The part of the event loop that most need who wait for a time, so that a test can let it pass."""

from collections.abc import Callable
from typing import Final, Protocol

EARLY: Final = 0.0005
"""Seconds by which a timer may come too soon, because uvloop rounds to milliseconds.

A timer that is set again for the rest comes at once, so the loop runs idly until the millisecond is over.
"""


class Timer(Protocol):
    """A timer of the event loop."""

    def cancel(self) -> None:
        """Stop it."""


class Timers(Protocol):
    """The event loop."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call ``callback`` after ``delay`` seconds."""
