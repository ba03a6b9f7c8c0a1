"""Sessions by the number of their streams: which of hundreds is the least loaded, without asking each.

Those that stand still count as full: who joined them would wait for somebody else.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from backhaul.relay.link import Link

_RESTING: Final = -1  # the load of a session that stands still


class Loads:
    """The sessions that take users; `update` is to be told of each whose load changes, or that stops or moves again."""

    def __init__(self) -> None:
        self._loads: dict[Link, int] = {}
        self._links: dict[int, dict[Link, None]] = {}  # by load, but those that stand still; no load without a session
        self._unused = 0  # of those without a stream: so many, the first in order, have had none for a while

    def __contains__(self, link: Link) -> bool:
        return link in self._loads

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._loads))

    def __bool__(self) -> bool:
        return bool(self._loads)

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return len(self._links.get(0, ()))

    def add(self, link: Link) -> None:
        """Take in a session."""
        self._put(link)

    def discard(self, link: Link) -> None:
        """Give this session no more users."""
        if link in self._loads:
            self._take(link)

    def update(self, link: Link) -> bool:
        """Look at a session anew; return whether it moves again, having stood still. One that is not here stays out."""
        load = _load(link)
        before = self._loads.get(link, load)
        if before != load:
            self._take(link)
            self._put(link)
        return before == _RESTING != load

    def least(self) -> Link | None:
        """Return the session with the fewest streams, of several the one that was in use last: its memory is warm."""
        return next(reversed(self._links[min(self._links)])) if self._links else None

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        idle = self._links.get(0, {})
        unused = list(islice(idle, self._unused))
        self._unused = len(idle)
        return unused

    def room(self, most: int) -> int:
        """Return for how many streams there is room if no session may have more than `most`."""
        return sum(max(0, most - load) * len(links) for load, links in self._links.items())

    def _put(self, link: Link) -> None:
        load = self._loads[link] = _load(link)
        if load != _RESTING:
            self._links.setdefault(load, {})[link] = None

    def _take(self, link: Link) -> None:
        load = self._loads.pop(link)
        if load == _RESTING:
            return
        links = self._links[load]
        del links[link]
        if not load:
            self._unused = min(self._unused, len(links))
        if not links:
            del self._links[load]


def _load(link: Link) -> int:
    return _RESTING if link.resting else len(link)
