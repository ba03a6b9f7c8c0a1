"""The running end, as the monitor sees it."""

from collections.abc import Callable
from dataclasses import dataclass

from .http_messages import Respond
from .status import Read, Survey
from .times import Times, no_times
from .traffic import Traffic, TrafficBoard


@dataclass(frozen=True, slots=True)
class Program:
    """The sources of the numbers, called in the event loop."""

    read: Read
    survey: Survey
    totals: Callable[[], Traffic]
    """Returns the bytes of all users; called often."""
    api: Respond
    """Answers requests of the page's visitors below ``/api/``."""
    board: TrafficBoard
    """Shows the samples of the page."""
    times: Times = no_times
