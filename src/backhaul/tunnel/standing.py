"""The standing of a server, for the choice among several."""

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

BRIEF: Final = 10.0
"""Seconds; a control channel that does not last as long counts as a failed attempt."""
HOPELESS: Final = 1 << 10
"""The failures of a server that is connected and can't be used."""


class View(NamedTuple):
    """The standing of a server at one moment."""

    connected: bool
    failures: int
    """Attempts in a row that failed or did not last."""
    since: float
    """The time at which it was connected; infinite while it is not."""


class Standing:
    """Notes the attempts to reach one server, and tells ``listener`` of each."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] = _nobody
        self.failures = 0
        self.since = math.inf

    def begin(self) -> None:
        """Forget earlier attempts, because the server has not been in use."""
        self.failures = 0

    def failed(self) -> None:
        """Note a failed attempt."""
        self.failures += 1
        self.listener()

    def connected(self, now: float) -> None:
        """Note a control channel."""
        self.since = now
        self.listener()

    def lost(self, now: float) -> None:
        """Note the loss of the control channel."""
        self.failures = self.failures + 1 if now - self.since < BRIEF else 0
        self.since = math.inf
        self.listener()

    def view(self, *, connected: bool) -> View:
        """Return the standing of a server, which is ``connected`` if users can be carried."""
        misfit = self.since < math.inf and not connected
        return View(connected, HOPELESS if misfit else self.failures, self.since)


def _nobody() -> None:
    """Report to nobody."""
