"""The time without a client."""

import asyncio
from collections.abc import Callable


class Absence:
    """Calls ``lasts()`` once the client has been away for longer than its grace period."""

    def __init__(self, lasts: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lasts = lasts
        self._timer: asyncio.TimerHandle | None = None
        self.long = False
        """True once the grace period is over."""
        self.sessions_stay = False
        """True if the client's sessions continue in the meantime, because only this end has changed."""

    def begin(self, grace: float) -> None:
        """Give the client ``grace`` seconds to return."""
        self.end()
        self._timer = self._loop.call_later(grace, self._over)

    def end(self) -> None:
        """Stop waiting, because the client is connected or not needed any more."""
        self.long = self.sessions_stay = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self.long, self.sessions_stay = True, False
        self._lasts()
