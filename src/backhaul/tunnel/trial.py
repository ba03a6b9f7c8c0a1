"""The trial of tunnel connections that were opened: one that is closed at once has failed, too.

On tcp and tcpmux a firewall or proxy may let every connection begin, and then reset all but the control channel.
"""

from typing import Final

from .openings import Openings

_CUT: Final = "each is closed at once; a firewall or proxy may let only the control channel pass"


class Trial:
    """Counts opened connections as successes when one has lasted until the next look, or a user has come."""

    def __init__(self, openings: Openings) -> None:
        self._openings = openings
        self._doubtful = False  # connections were opened, and none has lasted since
        self._seen = False  # one was open at the last look

    @property
    def problem(self) -> str:
        """The reason why no connection can be opened; empty if there is none."""
        return self._openings.problem

    def begin(self) -> None:
        """Begin again with a new control channel."""
        self._doubtful = self._seen = False
        self._openings.begin()

    def opened(self) -> None:
        """Note that a connection was opened, which may be closed at once."""
        self._doubtful = True

    def failed(self, why: str, now: float, asked: float) -> None:
        """Note a connection that could not be opened; a proxy may have ``asked`` for a longer pause."""
        self._doubtful = False
        self._openings.failed(why, now, asked)

    def lasted(self) -> None:
        """Note that a connection has lasted."""
        if self._doubtful:
            self._doubtful = False
            self._openings.opened()

    def look(self, *, any_open: bool) -> None:
        """Trust connections that were open at the last look, too."""
        before, self._seen = self._seen, any_open
        if before and any_open:
            self.lasted()

    def due(self, now: float) -> bool:
        """Return whether missing connections may be dialled; those of the last time have failed if none is open."""
        due = self._openings.due(now)
        if self._doubtful and not self._seen:
            self._openings.failed(_CUT, now)  # no effect before it is due
        return due
