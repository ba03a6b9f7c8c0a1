"""Sessions by the number of their streams: which of hundreds is the least loaded, without asking each.

Those that stand still count as full: who joined them would wait for somebody else. A session of which only the address
is known is proven by the first answer that a target gives through it. Until then it gets users by turns, one in all.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from .link import Link

_STALLED: Final = -1  # the load of a session that stands still


class _Shelf:
    """Sessions that move, by their load; those of one load in the order in which they are to be used last."""

    def __init__(self) -> None:
        self._links: dict[int, OrderedDict[Link, None]] = {}  # no load without a session
        self._unused = 0  # of those without a stream: so many, the first in order, have had none for a while

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return len(self._links.get(0, ()))

    @property
    def in_use(self) -> bool:
        """Whether any session has a stream."""
        return len(self._links) > (0 in self._links)

    def put(self, link: Link, load: int) -> None:
        """Add a session, to be used first of those with this load."""
        links = self._links.get(load)
        if links is None:
            links = self._links[load] = OrderedDict()
        links[link] = None

    def put_back(self, link: Link) -> None:
        """Add a session without streams, to be used last."""
        self.put(link, 0)
        self._links[0].move_to_end(link, last=False)

    def take(self, link: Link, load: int) -> None:
        """Remove a session."""
        links = self._links[load]
        del links[link]
        if not load and len(links) < self._unused:
            self._unused = len(links)
        if not links:
            del self._links[load]

    def least(self, most: int) -> Link | None:
        """Return the session with the fewest streams if that has fewer than `most`."""
        load = min(self._links, default=most)
        return next(reversed(self._links[load])) if load < most else None

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        idle = self._links.get(0, OrderedDict())
        unused = list(islice(idle, self._unused))
        self._unused = len(idle)
        return unused

    def last_choice(self) -> Link | None:
        """Return the session without streams that is to be used last."""
        return next(iter(self._links.get(0, ())), None)

    def without_place(self, streams: int, most: int) -> int:
        """Return how many of so many streams find no place, if no session may have more than `most`; at least 0."""
        for load, links in self._links.items():
            if streams <= 0:
                break
            if load < most:
                streams -= (most - load) * len(links)
        return max(0, streams)


class Balancer:
    """The sessions that take users; `update` is to be told of each whose load changes, or that stops or moves again."""

    def __init__(self) -> None:
        self._loads: dict[Link, int] = {}
        self._unproven: dict[Link, None] = {}
        self._shelf, self._trial = _Shelf(), _Shelf()  # of the proven, of the others

    def __contains__(self, link: Link) -> bool:
        return link in self._loads

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._loads))

    def __len__(self) -> int:
        return len(self._loads)

    @property
    def idle(self) -> int:
        """How many sessions have no stream."""
        return self._shelf.idle + self._trial.idle

    @property
    def unproven(self) -> int:
        """How many sessions have not been proven."""
        return len(self._unproven)

    @property
    def trying(self) -> bool:
        """Whether a user is on a session that has not been proven, although others have been."""
        return len(self._unproven) < len(self._loads) and self._trial.in_use

    def add(self, link: Link) -> None:
        """Take in a session."""
        if not link.proven:
            self._unproven[link] = None
        self._loads[link] = load = _load(link)
        self._put(link, load)

    def discard(self, link: Link) -> None:
        """Give this session no more users."""
        if link in self._loads:
            self._take(link)
            self._unproven.pop(link, None)

    def update(self, link: Link) -> bool:
        """Look at a session anew; return whether it moves again, having stood still. One that is not here stays out."""
        before = self._loads.get(link)
        if before is None:
            return False
        load = _load(link)
        if before != load or (link.proven and link in self._unproven):
            self._move(link, load)
        return before == _STALLED != load

    def _move(self, link: Link, load: int) -> None:
        self._take(link)
        if link.proven:
            self._unproven.pop(link, None)
        self._loads[link] = load
        if link not in self._unproven:
            if load != _STALLED:
                self._shelf.put(link, load)
        elif load:
            self._put(link, load)
        else:
            self._trial.put_back(link)  # this user got no answer

    def choose(self, most: int) -> Link | None:
        """Return the session for the next user: that with the fewest streams; None if each has `most`.

        Of several it is the one that was in use last, for its memory is warm, and of those not proven the newest.
        """
        if not self._unproven:
            return self._shelf.least(most)
        proven, other = self._shelf.least(most), self._trial.least(most)
        if proven is None or other is None:
            return other if proven is None else proven
        return other if not self._trial.in_use and proven.load else proven

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        return self._trial.unused() + self._shelf.unused()

    def last_choice(self) -> Link | None:
        """Return the session to be done without first: one that is not proven and has no stream."""
        return self._trial.last_choice()

    def has_room(self, streams: int, most: int) -> bool:
        """Return whether there is a place for so many streams if no session may have more than `most`."""
        return not self._trial.without_place(self._shelf.without_place(streams, most), most)

    def _put(self, link: Link, load: int) -> None:
        if load != _STALLED:
            self._shelf_of(link).put(link, load)

    def _take(self, link: Link) -> None:
        load = self._loads.pop(link)
        if load != _STALLED:
            self._shelf_of(link).take(link, load)

    def _shelf_of(self, link: Link) -> _Shelf:
        return self._trial if link in self._unproven else self._shelf


def _load(link: Link) -> int:
    return _STALLED if link.stalled else link.load
