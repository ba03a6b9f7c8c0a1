"""Pings on silent connections, because proxies close those after a minute (nginx: 60 s).

One timer serves all connections of a process. Each read and write of a connection costs no more than setting a flag.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from backhaul.net.log_throttle import LogThrottle

_AT_ONCE: Final = 256  # connections per turn of the event loop: a ping is a system call, and users wait meanwhile


class Silent(Protocol):
    """A connection that may have fallen silent."""

    def ping_if_silent(self) -> None:
        """Send a ping unless bytes have moved, either way, since this was called last."""


class Pings:
    """Pings connections that are silent; no timer runs while there are none."""

    def __init__(self, longest: Callable[[], float], faults: LogThrottle) -> None:
        """``longest`` returns the limit of silence in seconds; ``faults`` logs unexpected exceptions."""
        self._loop = asyncio.get_running_loop()
        self._longest = longest
        self._faults = faults
        self._members: set[Silent] = set()
        self._due: list[Silent] = []
        self._timer: asyncio.Handle | None = None

    def add(self, member: Silent) -> None:
        """Add a connection, which counts as active now."""
        self._members.add(member)
        if self._timer is None:
            self._look_later()

    def discard(self, member: Silent) -> None:
        """Remove a connection; harmless if it is not there."""
        self._members.discard(member)

    def close(self) -> None:
        """Stop, and drop all connections."""
        self._members.clear()
        if self._timer:
            self._timer.cancel()

    def _look_later(self) -> None:
        # A connection is pinged at the second look without bytes in between: at most twice this time has passed.
        self._timer = self._loop.call_later(self._longest() / 2, self._look)

    def _look(self) -> None:
        self._due = list(self._members)
        self._go_on()

    def _go_on(self) -> None:
        due, self._due = self._due[:_AT_ONCE], self._due[_AT_ONCE:]
        for member in due:
            if member in self._members:
                self._look_at(member)
        if self._due:
            self._timer = self._loop.call_soon(self._go_on)
        elif self._members:
            self._look_later()
        else:
            self._timer = None

    def _look_at(self, member: Silent) -> None:
        try:
            member.ping_if_silent()
        except Exception as error:  # noqa: BLE001 - the others are pinged nevertheless
            self._faults.fault("internal error in a ping; connections go on", error)
