"""The choice among several servers, without a clock of its own."""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

from .standing import View

FAILURES: Final = 2
"""Failures in a row after which the next server is dialled, too."""


class Choice(Protocol):
    """A rule by which servers are used."""

    def choose(self, views: Sequence[View], now: float) -> Collection[int]:
        """Return the servers to be in use, by their place in the order."""


class Together:
    """All servers."""

    def choose(self, views: Sequence[View], now: float) -> range:
        """Return all servers."""
        del now
        return range(len(views))


class InOrder:
    """The first server that works.

    Those before it stay in use: they are dialled again and again, and one that comes back proves itself while the
    later one still carries users.
    """

    def __init__(self, *, stable: float, last: int = 0) -> None:
        """``stable`` is the time in seconds for the proof; ``last`` is the place of the last server in use."""
        self._stable = stable
        self._last = last

    def choose(self, views: Sequence[View], now: float) -> range:
        """Return the servers to be in use, by their place in the order."""
        used = views[: self._last + 1]
        if self._last + 1 < len(views) and all(map(failing, used)):
            self._last += 1
        else:
            self._last = next((place for place in range(self._last) if self._suffices(used, place, now)), self._last)
        return range(self._last + 1)

    def _suffices(self, used: Sequence[View], place: int, now: float) -> bool:
        """Return whether the server at ``place`` needs none after it.

        If both lead to the same program, connecting one ends the other.
        """
        stable = now - used[place].since >= self._stable
        return used[place].connected and (stable or not any(view.connected for view in used[place + 1 :]))


def failing(view: View) -> bool:
    """Return whether it is time to try another server."""
    return not view.connected and view.failures >= FAILURES
