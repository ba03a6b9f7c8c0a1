"""Places that several sources share and take in turn; the source with the most places is known."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sourced(Protocol):
    """An item that takes a place."""

    @property
    def source(self) -> Hashable:
        """The source that the item counts for."""


Item = TypeVar("Item", bound=Sourced)


class Shares(Generic[Item]):
    """Items grouped by their source, oldest first. Each operation takes constant time.

    Of sources with equally many items, the one that was touched last comes last.
    """

    def __init__(self) -> None:
        self.most = 0  # items of the source that has the most
        self._groups: OrderedDict[Hashable, OrderedDict[Item, None]] = OrderedDict()
        self._size = 0
        self._with_count: dict[int, OrderedDict[Hashable, None]] = {}  # sources by how many items they have

    def __len__(self) -> int:
        return self._size

    def count(self, source: Hashable) -> int:
        """Return how many items a source has."""
        return len(self._groups.get(source, ()))

    def add(self, item: Item) -> None:
        """Add an item as the newest of its source."""
        group = self._groups.setdefault(item.source, OrderedDict())
        group[item] = None
        self._size += 1
        self._recount(item.source, len(group) - 1, len(group))

    def touch(self, item: Item) -> None:
        """Make the item the newest of its source again."""
        source = item.source
        group = self._groups[source]
        count = len(group)
        if count > 1:
            group.move_to_end(item)
        self._with_count[count].move_to_end(source)

    def discard(self, item: Item) -> None:
        """Drop the item; harmless if it is not there."""
        group = self._groups.get(item.source)
        if group is None or item not in group:
            return
        del group[item]
        self._size -= 1
        if not group:
            del self._groups[item.source]
        self._recount(item.source, len(group) + 1, len(group))

    def oldest_of_most(self) -> Item:
        """Return the oldest item of the source that has the most; call it only if there is an item."""
        source = next(iter(self._with_count[self.most]))
        return next(iter(self._groups[source]))

    def next(self) -> Item:
        """Return the oldest item of the source whose turn it is; call it only if there is an item."""
        return next(iter(next(iter(self._groups.values()))))

    def pass_turn(self, source: Hashable) -> None:
        """Let all other sources have their turn before this one."""
        if source in self._groups:
            self._groups.move_to_end(source)

    def _recount(self, source: Hashable, before: int, after: int) -> None:
        """Move a source from one count to another; ``before`` and ``after`` differ by one."""
        if before:
            equals = self._with_count[before]
            del equals[source]
            if not equals:
                del self._with_count[before]
        if after:
            self._with_count.setdefault(after, OrderedDict())[source] = None
        if after > self.most or self.most not in self._with_count:
            self.most = after
