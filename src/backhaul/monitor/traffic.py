"""The throughput of the last minutes and the load of the machine, while they are sampled."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from backhaul.errors import BackhaulError

from .samples import HistoryStatus


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


ReadHistory = Callable[[str], Awaitable[HistoryStatus]]
"""Returns the last day of a port or a client, or with an empty name of the whole program."""


class NotSampledError(BackhaulError):
    """The traffic is not sampled now."""


_MISSING: Final = "the traffic is sampled only while there is a page; set web_port"


def _missing() -> TrafficStatus:
    raise NotSampledError(_MISSING)


async def _no_history(_series: str) -> HistoryStatus:
    raise NotSampledError(_MISSING)


class TrafficBoard:
    """Shows the samples of a page, as long as there is one."""

    def __init__(self) -> None:
        self._read: Callable[[], TrafficStatus] = _missing
        self._history: ReadHistory = _no_history

    def read(self) -> TrafficStatus:
        """Return the present traffic; raise NotSampledError without a page."""
        return self._read()

    async def history(self, series: str) -> HistoryStatus:
        """Return the last day; raise NotSampledError without a page."""
        return await self._history(series)

    @contextmanager
    def fed(self, read: Callable[[], TrafficStatus], history: ReadHistory = _no_history) -> Iterator[None]:
        """Show what ``read`` and ``history`` return during the block."""
        self._read, self._history = read, history
        try:
            yield
        finally:
            self._read, self._history = _missing, _no_history
