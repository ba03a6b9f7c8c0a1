"""The choice of the best of several servers, without a clock of its own.

A line is noisy, so a single measurement means little, and a change of servers costs. The client changes only if one
server was clearly better for a while, and then not again for some time.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import product
from typing import Final, NamedTuple

from .choice import failing
from .standing import View

WINDOW: Final = 30
"""Measurements of each server that count."""
ENOUGH: Final = 10
"""Measurements of a server before it is compared."""
BETTER: Final = 0.8
"""The median of a faster server is below this part of that of the present one."""
LEAST: Final = 0.005
"""Seconds by which it must be below that as well: less is not noticeable."""
SURE: Final = 0.8
"""The part of all pairs of measurements in which a faster server is the faster one; by chance it is half of them."""
DEVIATIONS: Final = 3.0
"""The standard deviations by which the losses of a server with fewer must differ from those of the present one."""
ROUNDS: Final = 5
"""Measurements in a row after which a server must be better."""
DWELL: Final = 600.0
"""Seconds between two changes for a better server, and until one that failed is tried again because it is better."""


class Measurement(NamedTuple):
    """One question to a server."""

    seconds: float
    """Until the answer."""
    lossy: bool
    """True if a packet was lost, or no answer came."""


UNREACHABLE: Final = Measurement(10.0, lossy=True)
"""A question without an answer."""


class Measurements:
    """The last measurements of one server."""

    def __init__(self) -> None:
        self._last: deque[Measurement] = deque(maxlen=WINDOW)

    def add(self, one: Measurement) -> None:
        """Add the last one."""
        self._last.append(one)

    @property
    def enough(self) -> bool:
        """True if the server can be compared."""
        return len(self._last) >= ENOUGH

    @property
    def none(self) -> bool:
        """True if the server was never measured."""
        return not self._last

    @property
    def typical(self) -> float:
        """The median in seconds."""
        return sorted(self.seconds)[len(self._last) // 2]  # the module statistics takes memory of all clients

    @property
    def seconds(self) -> list[float]:
        """All of them."""
        return [one.seconds for one in self._last]

    def beats(self, other: "Measurements") -> bool:
        """Return whether this server is clearly better than another one."""
        return self._is_faster(other) or (self._loses_less(other) and self.typical <= other.typical / BETTER)

    def _is_faster(self, other: "Measurements") -> bool:
        """Compare all pairs (Mann and Whitney), so that the size of outliers does not matter."""
        if self.typical >= min(BETTER * other.typical, other.typical - LEAST):
            return False
        pairs = [one < two for one, two in product(self.seconds, other.seconds)]
        return sum(pairs) >= SURE * len(pairs)

    def _loses_less(self, other: "Measurements") -> bool:
        """Compare the counts, whose difference has about the variance of their sum."""
        own, theirs = self.losses, other.losses
        return theirs - own >= DEVIATIONS * math.sqrt(theirs + own) > 0

    @property
    def losses(self) -> float:
        """The lossy ones in a full window."""
        return sum(one.lossy for one in self._last) * WINDOW / len(self._last)


class Best:
    """The server with the best score, or another one while it can't be reached.

    A new server is connected before the present one is left.
    """

    def __init__(self, count: int, present: int = 0) -> None:
        """Choose among ``count`` servers; ``present`` is the place of the one in use."""
        self._measurements = [Measurements() for _ in range(count)]
        self._present = self._next = present  # the same unless a change is under way
        self._better = [0] * count  # rounds in a row in which the server was better than the present one
        self._changed = -DWELL
        self._given_up = [-DWELL] * count

    def measured(self, place: int, one: Measurement) -> None:
        """Note a measurement of the server at ``place``."""
        self._measurements[place].add(one)
        self._better[place] = self._better[place] + 1 if self._is_better(place) else 0

    def choose(self, views: Sequence[View], now: float) -> tuple[int, ...]:
        """Return the servers to be in use, by their place."""
        if self._next == self._present:
            self._next = self._successor(views, now)
        elif views[self._next].connected:
            self._change(now)
        elif failing(views[self._next]):
            self._given_up[self._next] = now
            self._next = self._successor(views, now)
        elif views[self._present].connected and not self._better[self._next]:  # it was only away for a moment
            self._next = self._present
        return tuple(sorted({self._present, self._next}))

    def _change(self, now: float) -> None:
        self._present = self._next
        self._changed = now
        self._better = [0] * len(self._better)

    def _successor(self, views: Sequence[View], now: float) -> int:
        """Return the place of the server to change to, or of the present one."""
        others = [place for place in range(len(views)) if place != self._present]
        if failing(views[self._present]):
            return min(others, key=self._preference, default=self._present)
        steady = now - self._changed < DWELL
        good = [place for place in others if self._better[place] >= ROUNDS and now - self._given_up[place] >= DWELL]
        return min(good, key=self._preference) if good and not steady else self._present

    def _preference(self, place: int) -> tuple[float, bool, float]:
        """Return a key by which the servers to try come first: not given up lately, measured, good."""
        known = self._measurements[place]
        return self._given_up[place], not known.enough, known.typical if known.enough else 0.0

    def _is_better(self, place: int) -> bool:
        one, present = self._measurements[place], self._measurements[self._present]
        if place == self._present or not one.enough:
            return False
        if present.none:  # it can't be measured, and is a makeshift
            return one.typical < UNREACHABLE.seconds
        return present.enough and one.beats(present)
