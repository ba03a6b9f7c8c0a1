"""Users who wait for a carrier."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from backhaul.net.predicates import has_error
from backhaul.transports.base import User

from .ports import Port

# Seconds between looks at those who wait. Most do for a millisecond: a time limit for each of them, or watching
# their sockets, would cost more than carrying a few that have gone.
_LOOK_EVERY: Final = 0.25


class Waiting(NamedTuple):
    """A user without a carrier, and where they came in and from."""

    user: User
    port: Port
    address: tuple[Any, ...]
    patience: float  # seconds
    until: float  # by the loop's clock


Leave = Callable[[Waiting], None]


class WaitingUsers:
    """Keeps users, oldest first, until a carrier is free, `expired(waiting)` or, they having gone, `gone(waiting)`.

    They wait for `patience` seconds, or a moment longer; while a client restarts for `restart_patience`.
    """

    def __init__(self, patience: float, restart_patience: float, *, expired: Leave, gone: Leave) -> None:
        self._loop = asyncio.get_running_loop()
        self._usual = patience
        self._longer = restart_patience
        self._patience = patience  # of those to come
        self.client_will_come = False
        """Whether users wait for a client that restarts."""
        self._expired = expired
        self._gone = gone
        self._users: dict[User, Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None  # set while users wait, and until the next look

    def __len__(self) -> int:
        return len(self._users)

    def add(self, user: User, port: Port, address: tuple[Any, ...]) -> None:
        """Let one more wait."""
        self._users[user] = Waiting(user, port, address, self._patience, self._loop.time() + self._patience)
        if self._timer is None:
            self._look_later()

    def oldest(self) -> User:
        """Return who has waited for longest; call only while somebody does."""
        return next(iter(self._users))

    def discard(self, user: User) -> None:
        """Forget one; harmless if they are not there."""
        self._users.pop(user, None)

    def client_restarts(self) -> None:
        """Let those who wait, and those to come, wait for longer."""
        self._patience = self._longer
        self.client_will_come = True
        until = self._loop.time() + self._longer
        for user, waiting in self._users.items():
            self._users[user] = waiting._replace(patience=self._longer, until=until)

    def restart_is_over(self) -> None:
        """Let those to come wait as long as usual."""
        self._patience = self._usual
        self.client_will_come = False

    def clear(self) -> list[User]:
        """Forget everyone; return who was waiting, oldest first."""
        users = list(self._users)
        self._users.clear()
        return users

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(min(_LOOK_EVERY, self._patience), self._look)

    def _look(self) -> None:
        """Who is gone takes up no place."""
        self._look_later()  # whatever becomes of this one
        now = self._loop.time()
        for waiting in list(self._users.values()):
            if waiting.until <= now:
                self.discard(waiting.user)
                self._expired(waiting)
            elif has_error(waiting.user.sock):
                self.discard(waiting.user)
                self._gone(waiting)
        if self._timer and not self._users:
            self._timer.cancel()
            self._timer = None
