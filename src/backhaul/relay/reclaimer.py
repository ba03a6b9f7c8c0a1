"""The return of free memory to the kernel after a crowd has left.

The C library's allocator keeps free memory below any piece in use. After a thousand users who had not read, 320 MB
stayed with an idle server.
"""

from collections.abc import Callable
from typing import Final

from backhaul.net.buffers import release_free_memory
from backhaul.net.timers import Timer, Timers

_MANY_USERS: Final = 256
_MANY_BYTES: Final = 16 << 20
AFTER: Final = 15.0
"""Seconds: idle connections are closed 10 seconds after a peak."""


class Tide:
    """A number that rises and falls; ``ebbed`` is called when three quarters of a peak above ``many`` are gone."""

    __slots__ = ("_ebbed", "_many", "_peak")

    def __init__(self, many: int, ebbed: Callable[[], None]) -> None:
        self._many = many
        self._ebbed = ebbed
        self._peak = 0

    def level(self, now: int) -> None:
        """Note the number."""
        if now > self._peak:
            self._peak = now
        elif self._peak > self._many and now < self._peak >> 2:
            self._peak = now
            self._ebbed()


class Reclaimer:
    """Gives free memory back a while after most users, strangers, or bytes that waited for peers are gone.

    That stops the process for a tenth of a second if 250 MB are free, so it is rare.
    """

    def __init__(self, timers: Timers, release: Callable[[], None] = release_free_memory) -> None:
        self._timers = timers
        self._release = release
        self._timer: Timer | None = None
        self.users = Tide(_MANY_USERS, self._soon)
        """The number of users, known whenever one has left."""
        self.strangers = Tide(_MANY_USERS, self._soon)
        """The number of connections that have proved nothing; 8192 in a TLS handshake take 200 MB."""
        self.datagrams = Tide(_MANY_BYTES, self._soon)
        """The bytes of datagrams that wait."""
        self.unsent = Tide(_MANY_BYTES, self._soon)
        """The bytes that wait for peers that do not read."""

    def close(self) -> None:
        """Give back nothing more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._timers.call_later(AFTER, self._now)

    def _now(self) -> None:
        self._timer = None
        self._release()
