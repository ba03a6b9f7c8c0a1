"""The parts of the data plane that its users need. Each protocol lists those of one kind of user."""

from asyncio import AbstractEventLoop
from typing import Protocol

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.pipes import PipePool
from backhaul.net.poller import Poller

from .budget import Budget
from .connections import InFlight, Joined
from .outcome import Done, Outcome
from .patience import Patience
from .pings import Pings


class Timekeeper(Protocol):
    """The clock, and the limits of time that a reload replaces."""

    loop: AbstractEventLoop
    patience: Patience


class JointResources(Protocol):
    """The parts for a socket that is joined with a channel."""

    poller: Poller
    budget: Budget
    patience: Patience
    live: set[InFlight]

    def watch(self, joined: Joined) -> None:
        """Watch a half-closed connection, which is told how long it has been silent."""

    def finished(self, joined: InFlight, done: Done | None, outcome: Outcome) -> None:
        """Drop two ends that have closed, and call ``done``."""


class DirectionResources(Protocol):
    """The parts for a direction between two sockets."""

    poller: Poller
    budget: Budget
    pipes: PipePool
    splicing: bool
    """True if the kernel moves bulk."""


class PairResources(JointResources, DirectionResources, Protocol):
    """The parts for two sockets that are joined with each other."""


class ChannelResources(Protocol):
    """The parts for a connection with messages."""

    loop: AbstractEventLoop
    poller: Poller
    budget: Budget
    patience: Patience
    pings: Pings
    complaints: LogThrottle
    lingering: set[Joined]

    def watch(self, joined: Joined) -> None:
        """Watch a connection without a user, which is told how long it has been silent."""

    def forget(self, joined: Joined) -> None:
        """Drop a connection without a user that has closed."""


class SplicedResources(PairResources, ChannelResources, Protocol):
    """The parts for a channel, and a socket joined with it, between which the kernel moves bulk."""
