"""The health of a target, judged by its users; nothing is probed."""

import time
from collections.abc import Callable

from backhaul.state import HealthState


class TargetHealth:
    """The last success and the last failure of one target."""

    __slots__ = ("_clock", "_failed", "_failure", "_reached")

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """``clock`` returns seconds since 1970."""
        self._clock = clock
        self._reached = 0.0
        self._failed = 0.0
        self._failure = ""

    def succeed(self) -> None:
        """Note that a user has reached the target."""
        self._reached = self._clock()

    def fail(self, why: str) -> None:
        """Note that a user has not reached the target, and why."""
        self._failed, self._failure = self._clock(), why

    def state(self) -> HealthState:
        """Return the health as data."""
        return HealthState(self._reached, self._failed, self._failure)
