"""Sessions by the number of their streams: which of hundreds is the least loaded, without asking each.

Those that stand still count as full: who joined them would wait for somebody else. A session of which only the address
is known is proven by the first answer that a target gives through it. Until then it gets users by turns, one in all.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from backhaul.relay.link import Link

_RESTING: Final = -1  # the load of a session that stands still


class _Shelf:
    """Sessions by their load; those of one load in the order in which they are to be used last."""

    def __init__(self) -> None:
        self._links: dict[int, dict[Link, None]] = {}  # by load, but those that stand still; no load without a session
        self._unused = 0  # of those without a stream: so many, the first in order, have had none for a while

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return len(self._links.get(0, ()))

    def has_idle(self, link: Link) -> bool:
        """Return whether this session is here and has no stream."""
        return link in self._links.get(0, ())

    @property
    def in_use(self) -> bool:
        """Whether any session has a stream."""
        return len(self._links) > (0 in self._links)

    def put(self, link: Link, load: int) -> None:
        """Add a session, to be used first of those with this load."""
        if load != _RESTING:
            self._links.setdefault(load, {})[link] = None

    def take(self, link: Link, load: int) -> None:
        """Remove a session."""
        if load == _RESTING:
            return
        links = self._links[load]
        del links[link]
        if not load:
            self._unused = min(self._unused, len(links))
        if not links:
            del self._links[load]

    def least(self, most: int) -> Link | None:
        """Return the session with the fewest streams if that has fewer than `most`."""
        load = min(self._links, default=most)
        return next(reversed(self._links[load])) if load < most else None

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        idle = self._links.get(0, {})
        unused = list(islice(idle, self._unused))
        self._unused = len(idle)
        return unused

    def last_choice(self) -> Link | None:
        """Return the session without streams that is to be used last."""
        return next(iter(self._links.get(0, ())), None)

    def room(self, most: int) -> int:
        """Return for how many streams there is room if no session may have more than `most`."""
        return sum(max(0, most - load) * len(links) for load, links in self._links.items())


class Loads:
    """The sessions that take users; `update` is to be told of each whose load changes, or that stops or moves again."""

    def __init__(self) -> None:
        self._loads: dict[Link, int] = {}
        self._unproven: set[Link] = set()
        self._proven, self._tried, self._untried = _Shelf(), _Shelf(), _Shelf()

    def __contains__(self, link: Link) -> bool:
        return link in self._loads

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._loads))

    def __len__(self) -> int:
        return len(self._loads)

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return self._proven.idle + self._tried.idle + self._untried.idle

    @property
    def unproven(self) -> int:
        """How many sessions have not been proven."""
        return len(self._unproven)

    @property
    def trying(self) -> bool:
        """Whether a user is on a session that has not been proven, although others have been."""
        return len(self._unproven) < len(self._loads) and self._tried.in_use

    def add(self, link: Link) -> None:
        """Take in a session that has no stream yet."""
        self._loads[link] = 0
        if link.proven:
            self._proven.put(link, 0)
        else:
            self._unproven.add(link)
            self._untried.put(link, 0)

    def discard(self, link: Link) -> None:
        """Give this session no more users."""
        if link in self._loads:
            self._take(link)
            del self._loads[link]
            self._unproven.discard(link)

    def update(self, link: Link) -> bool:
        """Look at a session anew; return whether it moves again, having stood still. One that is not here stays out."""
        load = _RESTING if link.resting else len(link)
        before = self._loads.get(link, load)
        if link in self._unproven:
            self._update_unproven(link, load)
        elif before != load:
            self._loads[link] = load
            self._proven.take(link, before)
            self._proven.put(link, load)
        return before == _RESTING != load

    def choose(self, most: int) -> Link | None:
        """Return the session for the next user: that with the fewest streams; None if each has `most`.

        Of several it is the one that was in use last, for its memory is warm, and of those never tried the newest.
        """
        proven = self._proven.least(most)
        if not self._unproven or (proven is not None and (not len(proven) or self._tried.in_use)):
            return proven
        other = self._untried.least(most)
        if other is None:
            other = self._tried.least(most)
        return proven if other is None else other

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        return self._tried.unused() + self._untried.unused() + self._proven.unused()

    def last_choice(self) -> Link | None:
        """Return the session to be done without first: one that is not proven and has no stream."""
        tried = self._tried.last_choice()
        return self._untried.last_choice() if tried is None else tried

    def room(self, most: int) -> int:
        """Return for how many streams there is room if no session may have more than `most`."""
        return self._proven.room(most) + self._tried.room(most) + self._untried.room(most)

    def _update_unproven(self, link: Link, load: int) -> None:
        if load == self._loads[link] and not link.proven:
            return
        self._take(link)
        self._loads[link] = load
        if link.proven:
            self._unproven.discard(link)
            self._proven.put(link, load)
        else:
            self._tried.put(link, load)

    def _take(self, link: Link) -> None:
        load = self._loads[link]
        if link not in self._unproven:
            self._proven.take(link, load)
        elif self._untried.has_idle(link):
            self._untried.take(link, load)
        else:
            self._tried.take(link, load)
