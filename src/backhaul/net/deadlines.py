"""Equal time limits for many items, with a single timer."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from .timers import EARLY

Item = TypeVar("Item", bound=Hashable)


class Deadlines(Generic[Item]):
    """Calls ``expire(item)`` once ``seconds`` have passed since ``add(item)``, unless the item was discarded.

    Items expire in the order of a dict, because all limits are equal.
    """

    def __init__(self, seconds: float, expire: Callable[[Item], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.seconds = seconds
        """The time of items added from now on; none expires sooner than an item that was added before it."""
        self._expire = expire
        self._due: dict[Item, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, item: Item) -> bool:
        return item in self._due

    def __iter__(self) -> Iterator[Item]:
        return iter(self._due)

    def add(self, item: Item) -> None:
        """Start the item's time, or restart it."""
        self._due.pop(item, None)
        self._due[item] = due = self._loop.time() + self.seconds
        if self._timer is None:
            self._sweep_at(due)

    def discard(self, item: Item) -> None:
        """Forget the item; harmless if it is unknown."""
        self._due.pop(item, None)

    def oldest(self) -> Item:
        """Return the item that expires next; raise StopIteration if there is none."""
        return next(iter(self._due))

    def clear(self) -> list[Item]:
        """Forget all items; return them, oldest first."""
        items = list(self._due)
        self._due.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        return items

    def _sweep_at(self, due: float) -> None:
        """Set the only timer; during a sweep ``add`` may have set one already."""
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time() + EARLY
        while self._due:
            item, due = next(iter(self._due.items()))
            if due > now:
                self._sweep_at(due)
                return
            del self._due[item]
            try:
                self._expire(item)
            except BaseException:  # the event loop logs it; the other items still expire
                self._sweep_at(now)
                raise
