"""Items that belong to networks: the network that has the most, and the next one in turn, in constant time."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Crowd(Generic[Item]):
    """Items by network, the oldest first."""

    def __init__(self) -> None:
        self._members: dict[str, OrderedDict[Item, None]] = {}
        self._sizes: list[OrderedDict[str, None]] = [OrderedDict()]  # networks by the number of their items
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for members in self._members.values():
            yield from members

    def size(self, network: str) -> int:
        """Return how many items the network has."""
        return len(self._members.get(network, ()))

    def add(self, network: str, item: Item) -> None:
        """Add an item that is not there yet."""
        members = self._members.setdefault(network, OrderedDict())
        members[item] = None
        self._count += 1
        self._resized(network, len(members) - 1, len(members))

    def discard(self, network: str, item: Item) -> None:
        """Remove the item; harmless if it is not there."""
        members = self._members.get(network)
        if members is None or item not in members:
            return
        del members[item]
        self._count -= 1
        self._resized(network, len(members) + 1, len(members))
        if not members:
            del self._members[network]

    def oldest_of(self, network: str) -> Item:
        """Return the oldest item of a network; call only while it has one."""
        return next(iter(self._members[network]))

    def oldest_of_largest(self) -> Item:
        """Return the oldest item of the network that has the most; call only while not empty."""
        return self.oldest_of(next(iter(self._sizes[-1])))

    def _resized(self, network: str, before: int, now: int) -> None:
        self._sizes[before].pop(network, None)
        if now == len(self._sizes):
            self._sizes.append(OrderedDict())
        if now:
            self._sizes[now][network] = None
        while len(self._sizes) > 1 and not self._sizes[-1]:
            self._sizes.pop()


class FairQueue(Generic[Item]):
    """A queue in which networks take turns, however many items each has.

    Under overload, the order of arrival would serve only items that have waited too long already. So the network that
    arrived last is first in turn, with its newest item, and is the last one after that.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, network: str, item: Item) -> None:
        """Add an item, the next one of its network."""
        if network not in self._waiting:
            self._waiting[network] = OrderedDict()
            self._waiting.move_to_end(network, last=False)
        self._waiting[network][item] = None

    def discard(self, network: str, item: Item) -> None:
        """Remove the item; harmless if it is not there."""
        if items := self._waiting.get(network):
            items.pop(item, None)
            if not items:
                del self._waiting[network]

    def clear(self) -> None:
        """Remove all items."""
        self._waiting.clear()

    def pop(self) -> Item:
        """Remove and return the next item; call only while not empty."""
        network, items = next(iter(self._waiting.items()))
        item, _ = items.popitem()
        if items:
            self._waiting.move_to_end(network)
        else:
            del self._waiting[network]
        return item
