"""Frames that share a write, because several users are served together.

Each write of a session costs a system call, and on wssmux or with ``encryption`` a record, which takes as long to seal
as 2 KiB in it. When the poller reports several sockets at once, or one callback serves several users, small frames wait
until all have been served.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import Protocol

from .log_throttle import LogThrottle
from .poller import FAULT


class Flushing(Hashable, Protocol):
    """A session with frames that wait."""

    def flush(self) -> None:
        """Send all frames that wait, if the connection takes bytes now."""


def flush_all(sessions: Iterable[Flushing], faults: LogThrottle) -> None:
    """Flush each session; ``faults`` logs unexpected exceptions, after which the others are flushed nevertheless."""
    for session in sessions:
        try:
            session.flush()
        except Exception as error:  # noqa: BLE001 - see above
            faults.fault(FAULT, error)


class Together:
    """The sessions with frames that wait for the users served with theirs."""

    __slots__ = ("_faults", "_loop", "_sessions", "on")

    def __init__(self, faults: LogThrottle) -> None:
        self._loop = asyncio.get_running_loop()
        self._faults = faults
        self._sessions: dict[Flushing, None] = {}
        self.on = False
        """True while small frames should wait."""

    def begin(self) -> None:
        """Let small frames wait in the rest of this callback, because it serves several users."""
        if not self.on:
            self.on = True
            self._loop.call_soon(self.end)

    def add(self, session: Flushing) -> None:
        """Flush the session at the end."""
        self._sessions[session] = None

    def end(self) -> None:
        """Let frames leave at once again, and those first that have waited."""
        self.on = False
        if self._sessions:
            sessions, self._sessions = self._sessions, {}
            flush_all(sessions, self._faults)
