"""The running end, as the monitor sees it."""

from dataclasses import dataclass

from .http_messages import Respond
from .status import Read
from .times import Times, no_times
from .traffic import TrafficBoard


@dataclass(frozen=True, slots=True)
class Program:
    """The sources of the numbers, called in the event loop."""

    read: Read
    api: Respond
    """Answers what visitors of the page ask for below ``/api/``."""
    board: TrafficBoard
    """Shows what the page samples."""
    times: Times = no_times
