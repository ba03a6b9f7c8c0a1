"""The sessions by their number of streams: the least loaded of hundreds is found without a look at each.

A stalled session counts as full, because a user on it would have to wait. A session of which only the address is known
is proven by the first answer of a target that arrives through it. Until then such sessions take turns, with one user on
all of them together.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from .link import Link

_STALLED: Final = -1  # the load of a stalled session


class _Shelf:
    """Sessions that are not stalled, by their load. Of those with the same load the last one is used first."""

    def __init__(self) -> None:
        self._links: dict[int, OrderedDict[Link, None]] = {}  # no empty entries
        self._unused = 0  # sessions, the first of those without a stream, that have had none for a while

    @property
    def idle(self) -> int:
        """Number of sessions without a stream."""
        return len(self._links.get(0, ()))

    @property
    def in_use(self) -> bool:
        """True if any session has a stream."""
        return len(self._links) > (0 in self._links)

    def put(self, link: Link, load: int) -> None:
        """Add a session, which is used first of those with this load."""
        links = self._links.get(load)
        if links is None:
            links = self._links[load] = OrderedDict()
        links[link] = None

    def put_back(self, link: Link) -> None:
        """Add a session without streams, which is used last of those."""
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
        """Return the session with the fewest streams if that has fewer than ``most``."""
        load = min(self._links, default=most)
        return next(reversed(self._links[load])) if load < most else None

    def move(self, link: Link, before: int, load: int) -> None:
        """Change the load of a session."""
        self.take(link, before)
        self.put(link, load)

    def unused(self) -> list[Link]:
        """Return the sessions that have had no stream since this was called last."""
        idle = self._links.get(0, OrderedDict())
        unused = list(islice(idle, self._unused))
        self._unused = len(idle)
        return unused

    def last_choice(self) -> Link | None:
        """Return the session without streams that is used last."""
        return next(iter(self._links.get(0, ())), None)

    def without_place(self, streams: int, most: int) -> int:
        """Return how many of ``streams`` further streams have no place if no session may have more than ``most``."""
        for load, links in self._links.items():
            if streams <= 0:
                break
            if load < most:
                streams -= (most - load) * len(links)
        return max(0, streams)


class Balancer:
    """The sessions that take users.

    Call ``update`` for each session when its load changes, when it stalls or moves again, and when it is proven.
    """

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
        """Number of sessions without a stream."""
        return self._shelf.idle + self._trial.idle

    @property
    def unproven(self) -> int:
        """Number of sessions that have not been proven."""
        return len(self._unproven)

    @property
    def trying(self) -> bool:
        """True if a user is on a session that has not been proven, although others have been."""
        return len(self._unproven) < len(self._loads) and self._trial.in_use

    def add(self, link: Link) -> None:
        """Add a session."""
        if not link.proven:
            self._unproven[link] = None
        self._loads[link] = load = _STALLED if link.stalled else link.load
        self._put(link, load)

    def discard(self, link: Link) -> None:
        """Stop giving users to this session."""
        if link in self._loads:
            self._take(link)
            self._unproven.pop(link, None)

    def update(self, link: Link) -> bool:
        """Note the changes on a session that takes users; return whether it was stalled and moves again."""
        before = self._loads.get(link)
        if before is None:
            return False
        load = _STALLED if link.stalled else link.load
        if not self._unproven and _STALLED not in (before, load):  # as for each user
            if before != load:
                self._loads[link] = load
                self._shelf.move(link, before, load)
            return False
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
            self._trial.put_back(link)  # its user got no answer

    def choose(self, most: int) -> Link | None:
        """Return the session with the fewest streams for the next user; None if each has ``most``.

        Of several, it is the one used last, because its memory is warm; of those not proven, the newest.
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
        """Return the session to close first if there are too many: not proven, and without a stream."""
        return self._trial.last_choice()

    def has_room(self, streams: int, most: int) -> bool:
        """Return whether ``streams`` further streams have a place if no session may have more than ``most``."""
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
