"""Places that several sources share: whose turn it is, and who has most of them."""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sourced(Protocol):
    """A thing that takes a place, and the source that it counts for."""

    source: str


Item = TypeVar("Item", bound=Sourced)


class Shares(Generic[Item]):
    """Items grouped by their source, oldest first. Each operation takes the same time, however many there are."""

    def __init__(self) -> None:
        self.most = 0  # items of the source that has most
        self._groups: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        self._with_count: dict[int, OrderedDict[str, None]] = {}  # sources by how many items they have

    def __bool__(self) -> bool:
        return bool(self._groups)

    def count(self, source: str) -> int:
        """Return how many items a source has."""
        return len(self._groups.get(source, ()))

    def add(self, item: Item) -> None:
        """Take in a new item, the newest of its source."""
        group = self._groups.setdefault(item.source, OrderedDict())
        group[item] = None
        self._recount(item.source, len(group) - 1, len(group))

    def touch(self, item: Item) -> None:
        """Make the item the newest of its source again."""
        self._groups[item.source].move_to_end(item)

    def discard(self, item: Item) -> None:
        """Drop the item; harmless if it is not there."""
        group = self._groups.get(item.source)
        if group is None or item not in group:
            return
        del group[item]
        if not group:
            del self._groups[item.source]
        self._recount(item.source, len(group) + 1, len(group))

    def oldest_of_most(self) -> Item:
        """Return the oldest item of the source that has most; only while there is one."""
        source = next(iter(self._with_count[self.most]))
        return next(iter(self._groups[source]))

    def next(self) -> Item:
        """Return the oldest item of the source whose turn it is; only while there is one."""
        return next(iter(next(iter(self._groups.values()))))

    def pass_turn(self, source: str) -> None:
        """Let all other sources have their turn before this one."""
        if source in self._groups:
            self._groups.move_to_end(source)

    def _recount(self, source: str, before: int, after: int) -> None:
        """Keep the sources by count; `before` and `after` are one apart."""
        if before:
            equals = self._with_count[before]
            del equals[source]
            if not equals:
                del self._with_count[before]
        if after:
            self._with_count.setdefault(after, OrderedDict())[source] = None
        if after > self.most or self.most not in self._with_count:
            self.most = after
