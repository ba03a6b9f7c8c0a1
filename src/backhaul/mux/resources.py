"""The parts of the data plane that sessions need."""

from typing import Protocol

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.relay.budget import Budget
from backhaul.relay.connections import Session
from backhaul.relay.late_frames import LateFrames
from backhaul.relay.patience import Patience
from backhaul.relay.resources import Timekeeper
from backhaul.relay.resumption import Resumption


class SenderResources(Protocol):
    """The parts for the sender of a session."""

    poller: Poller
    budget: Budget
    patience: Patience


class StallResources(Timekeeper, Protocol):
    """The parts for the detector of stalls."""

    complaints: LogThrottle


class LinkResources(SenderResources, StallResources, Protocol):
    """The parts for a session, with its sender and its detector of stalls."""

    links: set[Session]
    late_frames: LateFrames

    def next_link(self) -> int:
        """Return the number of a new session."""


class ResumableResources(LinkResources, Protocol):
    """The parts for a session that outlives its connections."""

    resumption: Resumption
