"""Clocks that a test moves."""

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Seconds that never go back."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Timer:
    """A timer of ``Loop``."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback

    def cancel(self) -> None:
        """Stop it."""
        self.callback = bool


class Loop:
    """Time that passes from timer to timer, each of which comes ``early`` seconds too soon."""

    def __init__(self, *, early: float = 0.0) -> None:
        self.now = 0.0
        self._early = early
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, Timer]] = []

    def time(self) -> float:
        """See Timers."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """See Timers."""
        return self.call_at(self.now + delay, callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call ``callback`` at this time."""
        timer = Timer(callback)
        heapq.heappush(self._due, (max(self.now, when - self._early), next(self._numbers), timer))
        return timer

    def run(self, until: float) -> None:
        """Let time pass up to ``until``."""
        while self._due and self._due[0][0] <= until:
            self.now, _, timer = heapq.heappop(self._due)
            timer.callback()
        self.now = until

    def run_next(self) -> None:
        """Let time pass up to the next timer."""
        self.run(self._due[0][0])

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        self.run(self.now + seconds)

    @property
    def waiting(self) -> int:
        """The number of timers to come that are not cancelled."""
        return sum(timer.callback is not bool for _, _, timer in self._due)

    @property
    def timers(self) -> int:
        """The number of timers to come, cancelled ones included."""
        return len(self._due)
