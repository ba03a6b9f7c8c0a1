"""The outcomes of tunnel connections that a client dials, without a clock of its own.

A proxy or firewall may let the control channel pass but refuse tunnel connections. Without growing pauses the client
would dial all that its pool lacks every second, for ever.
"""

import logging
from collections.abc import Sequence

from backhaul.net.log_throttle import LogThrottle

from .pauses import Repeats

_CERTAIN = 2  # rounds of failures: a single one is normal while a server restarts


class Openings:
    """Counts rounds of failures since the last success: connections that are dialled together fail together."""

    def __init__(self, pauses: Sequence[float], logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        """``pauses`` are the seconds to wait after each round."""
        self._pauses = pauses
        self._log = logger
        self._throttle = LogThrottle(logger)
        self._in_log = False  # the problem
        self._repeats = Repeats()
        self._rounds = 0
        self._next = 0.0  # the time before which failures belong to the last round
        self.problem = ""
        """The reason why connections can't be opened; empty if there is none."""

    def begin(self) -> None:
        """Start again, with a new control channel."""
        self._rounds = 0
        self._next = 0.0
        self.problem = ""

    def due(self, now: float) -> bool:
        """Return whether missing connections may be dialled."""
        return now >= self._next

    def opened(self) -> None:
        """Note a connection that was opened."""
        if self._in_log:
            self._in_log = False
            self._log.info("tunnel connections can be opened again")
        if self.problem:
            self._repeats.forget()
        self.begin()

    def failed(self, why: str, now: float, asked: float = 0.0) -> None:
        """Note a connection that could not be opened; a proxy may have ``asked`` for a longer pause, up to the last."""
        if not self.due(now):
            return
        self._next = now + max(self._pauses[min(self._rounds, len(self._pauses) - 1)], min(asked, self._pauses[-1]))
        self._rounds += 1
        if self._rounds >= _CERTAIN:
            self.problem = f"tunnel connections can't be opened: {why}"
            if text := self._repeats.worded(self.problem):
                self._in_log |= self._throttle.error(self.problem, text)
