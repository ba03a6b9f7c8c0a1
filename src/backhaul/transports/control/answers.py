"""The answers to heartbeats, which measure the round trip and show that the client is there."""

import asyncio
import time
from collections.abc import Callable


class LifeSign:
    """A question whether a peer is alive; all callers who ask meanwhile get the same answer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told: list[Callable[[bool], None]] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def asked(self) -> bool:
        """True while a question waits for its answer."""
        return self._timer is not None

    def ask(self, within: float, told: Callable[[bool], None]) -> None:
        """Call ``told`` once, with False unless the peer answers within so many seconds of the first question."""
        self._told.append(told)
        if not self._timer:
            self._timer = self._loop.call_later(within, self.answer, False)

    def answer(self, alive: bool) -> None:  # noqa: FBT001 - the answer itself
        """Tell all callers who have asked, in the next turn of the event loop."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for told in self._told:
            self._loop.call_soon(told, alive)
        self._told.clear()


class AnswerWatch:
    """Waits for an answer within a time; one question at a time counts."""

    def __init__(self, within: float) -> None:
        """Wait at most ``within`` seconds."""
        self._loop = asyncio.get_running_loop()
        self._within = within
        self._asked = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.rtt = 0.0
        """Seconds of the last round trip, 0 before the first one."""

    def asked(self, overdue: Callable[[], None]) -> None:
        """Begin to wait, unless an earlier question waits for its answer; ``overdue`` is called if none comes."""
        if not self._timer:
            self._asked = time.perf_counter()
            self._timer = self._loop.call_later(self._within, overdue)

    def answered(self) -> None:
        """Measure the round trip; an answer without a question is ignored."""
        if self._timer:
            self.rtt = time.perf_counter() - self._asked
            self.stop()

    def stop(self) -> None:
        """Stop waiting."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
