"""The part of a message that has arrived, and is kept until the rest arrives."""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .budget import Budget


class Unfinished:
    """Counts in the budget of all relays, apart from the backlog of its connection."""

    __slots__ = ("_budget", "_size", "over_budget", "owner")

    def __init__(self, budget: "Budget", owner: Hashable, over_budget: Callable[[], None]) -> None:
        """Call ``over_budget`` when the connection, which belongs to ``owner``, has to end."""
        self._budget = budget
        self.owner = owner
        self._size = 0
        self.over_budget = over_budget

    def count(self, size: int) -> None:
        """Note that ``size`` bytes are kept now; the connection may end before this returns."""
        if size != self._size:
            self._size = size
            self._budget.hold(self, size)
