"""The users in flight of one end, listed or closed on request, however many there are."""

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import NamedTuple

from backhaul.relay.connections import InFlight
from backhaul.relay.outcome import Ending, Outcome, Progress
from backhaul.selection import Selection
from backhaul.state import UserState


class Record(ABC):
    """The record of one user in flight, which relays call at the end."""

    __slots__ = ("number", "since")

    number: int
    since: float
    """The time of its arrival by the loop's clock."""

    @abstractmethod
    def __call__(self, outcome: Outcome) -> None:
        """Note the end of the user."""

    @abstractmethod
    def state(self, progress: Progress, now: float) -> UserState:
        """Return the user's state; ``now`` by the loop's clock."""


class Row(NamedTuple):
    """A user in flight, and how to close the connection."""

    state: UserState
    close: Callable[[], object]


class Roll:
    """The users in flight of all ``sources``.

    Users come and go while a source is read; the caller may pause after each row.
    """

    def __init__(self, *sources: Callable[[], Iterator[Row]]) -> None:
        self._sources = sources

    def users(self) -> Iterator[UserState]:
        """Return the states of all users, each made when it is asked for."""
        return (row.state for row in self._rows())

    def close(self, selection: Selection) -> Iterator[bool]:
        """Reset the chosen users; yield for each user whether it was chosen."""
        for row in self._rows():
            chosen = selection.chooses(row.state)
            if chosen:
                row.close()
            yield chosen

    def _rows(self) -> Iterator[Row]:
        for source in self._sources:
            yield from source()


def joined(live: set[InFlight]) -> Iterator[Row]:
    """Return the users whose bytes move."""
    loop = asyncio.get_running_loop()
    for user in list(live):
        if user in live and isinstance(user.done, Record):
            yield Row(user.done.state(user.progress(), loop.time()), functools.partial(user.end, Ending.CLOSED))
