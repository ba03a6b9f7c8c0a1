"""The part of the event loop that most need who wait for a time, so that a test can let it pass."""

from collections.abc import Callable
from typing import Protocol


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
