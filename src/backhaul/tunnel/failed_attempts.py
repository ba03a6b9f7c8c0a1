"""The log of attempts to connect that fail."""

import logging

from backhaul.errors import MEMORY_ADVICE, TransportError, out_of_memory, reason

from .pauses import Repeats

log = logging.getLogger("backhaul.client")


class FailedAttempts:
    """Logs failed attempts, each reason once and then seldom.

    Just after one end was stopped or reloaded the two may have different transports or tokens for a moment. That is no
    error until it has lasted for ``patience`` seconds, which begin with each ``excuse``.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._until = 0.0
        self._repeats = Repeats()

    def excuse(self, now: float) -> None:
        """Expect some attempts to fail, because an end was stopped or reloaded at this moment."""
        self._until = now + self._patience

    def add(self, remote: str, error: Exception, now: float) -> None:
        """Log a failed attempt."""
        if out_of_memory(error):
            self.crashed(error)
            return
        text = f"can't connect to {remote}: {reason(error)}"
        if isinstance(error, TransportError) and now < self._until:
            log.debug("%s", text)
            self._log(logging.INFO, f"can't connect to {remote} yet: this end or the other one has just changed")
        else:
            self._log(logging.ERROR, text)

    def crashed(self, error: Exception) -> None:
        """Log an exception that nobody expected; a lack of memory is none."""
        if out_of_memory(error):
            self._log(logging.ERROR, f"out of memory or threads; reconnecting, users in flight stay: {MEMORY_ADVICE}")
        else:
            log.error("internal error; reconnecting, users in flight stay", exc_info=error)

    def forget(self) -> None:
        """Log the next failure, whatever the last one was."""
        self._repeats.forget()

    def _log(self, level: int, text: str) -> None:
        if line := self._repeats.worded(text):
            log.log(level, "%s", line)
