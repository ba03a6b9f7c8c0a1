"""How long no client has been connected."""

import asyncio
from collections.abc import Callable


class Absence:
    """Calls `lasts()` when the client has been away for longer than it was given."""

    def __init__(self, lasts: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lasts = lasts
        self._timer: asyncio.TimerHandle | None = None
        self.long = False
        """Whether that time is over."""

    def begin(self, grace: float) -> None:
        """The client has gone; `grace` seconds are its."""
        self.end()
        self._timer = self._loop.call_later(grace, self._over)

    def end(self) -> None:
        """The client is there, or nobody waits for it any more."""
        self.long = False
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        self.long = True
        self._lasts()
