"""The sources of the numbers that the page and the metrics show."""

from collections.abc import Callable
from dataclasses import dataclass

from .sampler import Sampler
from .status import Survey
from .times import Times, no_times

Usage = Callable[[], dict[int, int]]
"""Returns the bytes of each port over all runs; asked only if a usage log is kept."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of the numbers, called in the event loop."""

    survey: Survey
    usage: Usage
    sampler: Sampler
    times: Times = no_times
