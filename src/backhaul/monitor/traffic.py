"""The throughput of the last minutes and the load of the machine, while they are sampled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec import Struct

from backhaul.errors import BackhaulError


@dataclass(frozen=True, slots=True)
class Share:
    """The used part of a limited resource, in bytes."""

    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Network:
    """Bytes through all network interfaces, including the loopback, since the machine started."""

    received: int
    sent: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Figures of the whole machine; None for each that is not available, as in some containers."""

    cpu: float | None
    """Percent of all processors since the previous measurement; 0 for the first one."""
    memory: Share | None
    swap: Share | None
    disk: Share | None
    """Of the file system "/", as in v0.7.2."""
    network: Network | None
    sockets: int | None
    """Open sockets of all kinds."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes in both directions: a total, or the average per second between two samples."""

    received: float
    sent: float


class TrafficStatus(Struct, frozen=True):
    """The throughput of the last minutes and the load of the machine."""

    now: float
    """Seconds since 1970, UTC."""
    interval: float
    """Seconds between two samples."""
    history: list[tuple[int, int]]
    """Bytes a second from users and to users, the last sample at the end."""
    usage: dict[int, int] | None
    """Bytes of each port over all runs, if a usage log is kept."""
    machine: Machine
    machine_rate: Traffic | None
    """Bytes a second through all network interfaces."""


class NotSampledError(BackhaulError):
    """The traffic is not sampled now."""


def _missing() -> TrafficStatus:
    raise NotSampledError("the traffic is sampled only while there is a page; set web_port")


class TrafficBoard:
    """Shows what a page samples, as long as there is one."""

    def __init__(self) -> None:
        self._read: Callable[[], TrafficStatus] = _missing

    def read(self) -> TrafficStatus:
        """Return the present traffic; raise NotSampledError without a page."""
        return self._read()

    @contextmanager
    def fed(self, read: Callable[[], TrafficStatus]) -> Iterator[None]:
        """Show what ``read`` returns during the block."""
        self._read = read
        try:
            yield
        finally:
            self._read = _missing
