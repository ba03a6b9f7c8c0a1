"""The history of a day, of the whole program and of its ports, written once a minute."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Final

from backhaul.addresses import port_name
from backhaul.errors import reason
from backhaul.net.log_throttle import LogThrottle
from backhaul.threads import in_thread, in_thread_or_here

from .growth import Grown, grown
from .history_file import SERIES, HistoryFile
from .samples import HistoryStatus, Sample
from .status import PortStatus, Read, Status
from .tasks import background
from .traffic import NotSampledError, ReadHistory

log = logging.getLogger("backhaul.monitor")

MINUTE: Final = 60.0
_ALL: Final = ""  # the series of the whole program
_SILENCE: Final = 3600.0  # seconds between two lines about a file that cannot be written


class History:
    """Adds a sample a minute to a file."""

    def __init__(self, file: HistoryFile, read: Read, clock: Callable[[], float] = time.time) -> None:
        """``clock`` returns seconds since 1970."""
        self._file = file
        self._read = read
        self._clock = clock
        self._before = read().ports
        self._throttle = LogThrottle(log, _SILENCE)

    async def status(self, series: str) -> HistoryStatus:
        """Return the last day of a series, which is that of the whole program without a name; raise NotSampledError."""
        now = self._clock()
        try:
            samples, names = await in_thread(self._look, series, int(now // MINUTE))
        except OSError as error:
            raise NotSampledError(f"the history can't be read: {reason(error)}") from None
        return HistoryStatus(now, sorted(filter(None, names)), samples)

    async def run(self) -> None:
        """Take a sample at the end of each minute, until cancelled."""
        while True:
            await asyncio.sleep(MINUTE - self._clock() % MINUTE)
            await self.tick()

    async def tick(self) -> None:
        """Take a sample of the minute that ends now, or of its elapsed part."""
        minute, status = int((self._clock() - 1) // MINUTE), self._read()
        ports = dict(zip(_names(status), grown(self._before, status), strict=True))
        self._before = status.ports
        every = {name: _sample(minute, port) for name, port in ports.items()}
        series = _busiest({name: port.now for name, port in ports.items()})
        kept = {name: _sum(minute, map(every.__getitem__, names)) for name, names in series}
        kept[_ALL] = _sum(minute, every.values())._replace(waiting=status.waiting)
        try:
            await in_thread_or_here(self._file.add, kept)
        except OSError as error:
            self._throttle.warn(
                "history", f"the history of the page can't be written: {reason(error)}; free some space"
            )

    def _look(self, series: str, minute: int) -> tuple[list[Sample], list[str]]:
        return self._file.read(series, minute), self._file.names(minute)


@contextlib.asynccontextmanager
async def keeping_history(path: str, read: Read) -> AsyncIterator[ReadHistory]:
    """Keep the history in a file during the block, and yield a function that reads it.

    If that is impossible the reason is logged, and the function raises NotSampledError.
    """
    if not path:
        yield _none
        return
    try:
        file = await in_thread(HistoryFile, Path(path))
    except OSError as error:
        log.error("%s: %s; the page has no history; correct that and restart the program", path, reason(error))
        yield _none
        return
    if file.renewed:
        log.warning("%s: corrupt and replaced; the history of the page begins anew", path)
    history = History(file, read)
    try:
        async with background(history.run()):
            yield history.status
    finally:
        await history.tick()
        file.close()


async def _none(_series: str) -> HistoryStatus:
    raise NotSampledError("no history is kept; the log gives the reason if there is one")


def _names(status: Status) -> list[str]:
    """Return the names of the series of ports.

    The protocol that an entry names is part of it only if another port has the same address; so a series goes on when
    an entry gets one.
    """
    if status.side == "client":
        return [port.target for port in status.ports]
    names = [port_name(port.bind, port.port) for port in status.ports]
    shared = Counter(names)
    return [
        f"{name}/{port.protocol}" if port.protocol and shared[name] > 1 else name
        for name, port in zip(names, status.ports, strict=True)
    ]


def _sample(minute: int, port: Grown) -> Sample:
    def more(field: str) -> int:
        now: int = getattr(port.now, field)
        then: int = getattr(port.before, field, 0)
        return now - then if now >= then else now  # a port that was removed and added again counts from 0

    users = port.now.open + port.now.udp_flows
    return Sample(minute, users, more("total"), more("refused"), 0, more("received"), more("sent"))


def _sum(minute: int, samples: Iterable[Sample]) -> Sample:
    columns = list(zip(*samples, strict=True)) or [()] * len(Sample._fields)
    _, users, new, refused, _, received, sent = map(sum, columns)
    return Sample(minute, users, new, refused, 0, received, sent)


def _owner(port: PortStatus) -> str:
    """Return the name of the series of the client or group that has the port; empty for the client without a name."""
    if port.group:
        return f"group {port.group}"
    return f"client {port.client}" if port.client else ""


def _busiest(ports: dict[str, PortStatus]) -> list[tuple[str, list[str]]]:
    """Return the series that the file holds beside the whole program, with the ports of each: the busiest.

    Each client and each group of a server that has several clients is one, too.
    """
    groups = {name: [name] for name in ports}
    for name, port in ports.items():
        if owner := _owner(port):
            groups.setdefault(owner, []).append(name)
    return sorted(groups.items(), key=lambda group: -sum(ports[one].received + ports[one].sent for one in group[1]))[
        : SERIES - 1
    ]
