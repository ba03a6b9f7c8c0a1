"""Users who wait for a carrier."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from backhaul.net.deadlines import Deadlines
from backhaul.transports.base import User

from .ports import Port


class Waiting(NamedTuple):
    """A user without a carrier, and where he came in and from."""

    user: User
    port: Port
    address: tuple[Any, ...]


class WaitingUsers:
    """Keeps users, oldest first, until a carrier is free or `expire(seconds, waiting)` is called.

    They wait for `patience` seconds; while a client restarts, which takes a moment, for `restart_patience`.
    """

    def __init__(self, patience: float, restart_patience: float, expire: Callable[[float, Waiting], None]) -> None:
        self._usual: Deadlines[Waiting] = Deadlines(patience, functools.partial(expire, patience))
        self._longer: Deadlines[Waiting] = Deadlines(restart_patience, functools.partial(expire, restart_patience))
        self._joined = self._usual

    def __len__(self) -> int:
        return len(self._usual) + len(self._longer)

    def __iter__(self) -> Iterator[Waiting]:
        yield from self._longer
        yield from self._usual

    @property
    def client_will_come(self) -> bool:
        """Whether users wait for a client that restarts."""
        return self._joined is self._longer

    def add(self, waiting: Waiting) -> None:
        """Let one more wait."""
        self._joined.add(waiting)

    def oldest(self) -> Waiting:
        """Return who has waited for longest; call only while somebody does."""
        return next(iter(self))

    def discard(self, waiting: Waiting) -> None:
        """Forget one; harmless if it is not there."""
        self._usual.discard(waiting)
        self._longer.discard(waiting)

    def client_restarts(self) -> None:
        """Let those who wait, and those to come, wait for longer."""
        for waiting in self._usual.clear():
            self._longer.add(waiting)
        self._joined = self._longer

    def restart_is_over(self) -> None:
        """Let those to come wait as long as usual."""
        self._joined = self._usual

    def clear(self) -> list[Waiting]:
        """Forget everyone; return who was waiting, oldest first."""
        return [*self._longer.clear(), *self._usual.clear()]
