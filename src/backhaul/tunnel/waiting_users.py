"""Users waiting for a carrier."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from backhaul.net.descriptors import Descriptors
from backhaul.net.predicates import has_error
from backhaul.transports.user import User

from .port import Port
from .wait_limit import WaitLimit

# Seconds between checks of waiting users. Most wait for a millisecond: a timer for each, or watching their sockets,
# would cost more than carrying a few who have left.
_LOOK_EVERY: Final = 0.25


class Waiting(NamedTuple):
    """A user without a carrier, with port and address."""

    user: User
    port: Port
    address: tuple[Any, ...]
    since: float  # by the loop's clock
    at_least: float  # the same, while a client restarts


class WaitingUsers:
    """Keeps users, oldest first, until a carrier is free; calls ``expired(waiting)``, or ``gone(user)`` on leaving.

    Users wait as long as ``limit`` says, or a moment longer; while a client restarts, for ``restart_patience`` seconds.
    """

    def __init__(
        self,
        limit: WaitLimit,
        restart_patience: float,
        descriptors: Descriptors,
        *,
        expired: Callable[[Waiting], None],
        gone: Callable[[User], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptors = descriptors
        self._limit = limit
        self._restart_patience = restart_patience
        self.client_will_come = False
        """True while users wait for a client that restarts."""
        self._expired = expired
        self._gone = gone
        self._users: dict[User, Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None  # set while users wait, and until the next look

    def __len__(self) -> int:
        return len(self._users)

    def __iter__(self) -> Iterator[User]:
        """Return the users who wait now, oldest first; some may leave meanwhile."""
        return (user for user in list(self._users) if user in self._users)

    def entries(self) -> list[Waiting]:
        """Return the users who wait now with port and address, oldest first."""
        return list(self._users.values())

    def add(self, user: User, port: Port, address: tuple[Any, ...]) -> None:
        """Let a user wait."""
        now = self._loop.time()
        self._descriptors.promised += 1
        at_least = now + self._restart_patience if self.client_will_come else now
        self._users[user] = Waiting(user, port, address, now, at_least)
        if self._timer is None:
            self._look_later()

    def oldest(self) -> Waiting:
        """Return the user who has waited for longest; call only while one waits."""
        return next(iter(self._users.values()))

    def carried(self, user: User) -> None:
        """Forget a user who has got a carrier; the others may wait for longer."""
        self.discard(user)
        self._limit.carried()

    def discard(self, user: User) -> None:
        """Forget a user; harmless if they do not wait."""
        if self._users.pop(user, None):
            self._descriptors.promised -= 1

    def client_restarts(self) -> None:
        """Let present and future users wait for longer."""
        self.client_will_come = True
        at_least = self._loop.time() + self._restart_patience
        for user, waiting in self._users.items():
            self._users[user] = waiting._replace(at_least=at_least)

    def restart_is_over(self) -> None:
        """Let future users wait as long as usual."""
        self.client_will_come = False

    def clear(self) -> list[User]:
        """Forget all users; return them, oldest first."""
        users = list(self._users)
        self._users.clear()
        self._descriptors.promised -= len(users)
        return users

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(min(_LOOK_EVERY, self._limit.usual), self._look)

    def _look(self) -> None:
        """End the wait of users whose time is over or who have left."""
        self._look_later()  # first, so that an error does not stop the checks
        now = self._loop.time()
        for waiting in self.entries():
            if waiting.user not in self._users:  # another client has taken over the user meanwhile
                continue
            if max(self._limit.until(waiting.since), waiting.at_least) <= now:
                self.discard(waiting.user)
                self._expired(waiting)
            elif has_error(waiting.user.sock):
                self.discard(waiting.user)
                self._gone(waiting.user)
        if self._timer and not self._users:
            self._timer.cancel()
            self._timer = None
