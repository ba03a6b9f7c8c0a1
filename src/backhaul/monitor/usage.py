"""The usage log: bytes of each port over all runs, in one small JSON file.

The file has the format of v0.7.2, ``[{"Port": 443, "Usage": 1}]``. That of later versions of the Go program,
``{"port_usages": {"443": 1}, "total_usage": 1}``, is read too.
"""

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field

from backhaul.errors import UNREADABLE, reason
from backhaul.net.log_throttle import LogThrottle
from backhaul.threads import in_thread, in_thread_or_here

from . import files
from .growth import grown
from .settings import LOG_INTERVAL
from .status import OTHERS, PortStatus, Read
from .tasks import background

log = logging.getLogger("backhaul.monitor")

_SILENCE: Final = 3600.0  # seconds between two lines about a file that cannot be written
_MAX_FILE: Final = 8 << 20  # bytes; all 65535 ports with 20 digits each need a quarter of it

_Port = Annotated[int, Meta(ge=0, le=65535)]
_Bytes = Annotated[int, Meta(ge=0)]


class UsageLog:
    """Adds up the bytes of each port, received and sent together, over all runs of the program.

    ``read`` is called by ``tick()`` and ``totals()``. The file is used by ``load()`` and ``save()`` only, which may run
    in another thread and never raise, so that the usage log cannot end a tunnel.
    """

    def __init__(self, path: str, read: Read) -> None:
        self._path = Path(path)
        self._read = read
        self._before = read().ports  # after a reload the monitor counts from here on
        self._usage: Counter[int] = Counter()
        self._saved: dict[int, int] | None = {}  # None: the file must not be written
        self._saving = threading.Lock()
        self._throttle = LogThrottle(log, _SILENCE)

    def totals(self) -> dict[int, int]:
        """Return the bytes of each port up to now, after a tick."""
        self.tick()
        return dict(self._usage)

    def tick(self) -> None:
        """Add the bytes of each port since the last tick."""
        status = self._read()
        ports = grown(self._before, status)
        gone = sum(map(_moved, self._before)) - sum(_moved(port.before) for port in ports)
        for before, now in ports:
            # Bytes counted for a target are not counted again when its counters are added to the others.
            counted = _moved(before) + (gone if now.target == OTHERS else 0)
            # A port removed and added again by reloads counts from 0.
            self._usage[now.port] += _moved(now) - (counted if _moved(now) >= counted else 0)
        self._before = status.ports

    def load(self) -> None:
        """Add the usage of earlier runs; a file of another kind is renamed."""
        try:
            self._usage.update(_parse(files.read(self._path, _MAX_FILE)))
            self._saved = dict(self._usage)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._saved = None
            log.error("sniffer_log: can't read %s: %s; usage is not kept", self._path, reason(error))
        except ValueError as error:
            self._set_aside(str(error))

    def save(self) -> None:
        """Write the usage of the last tick if it has changed."""
        with self._saving:
            usage = dict(self._usage)
            if self._saved is None or usage == self._saved:
                return
            try:
                files.replace(self._path, _render(usage))
                self._saved = usage
            except OSError as error:
                self._throttle.warn("save", f"sniffer_log: can't write {self._path}: {reason(error)}")

    def _set_aside(self, why: str) -> None:
        try:
            aside = files.set_aside(self._path)
        except OSError as error:
            self._saved = None
            log.error("sniffer_log: %s %s and can't be renamed: %s", self._path, why, reason(error))
        else:
            log.warning("sniffer_log: %s %s; it is now %s, and usage counts from 0", self._path, why, aside.name)


def _moved(port: PortStatus | None) -> int:
    return port.received + port.sent if port else 0


@contextlib.asynccontextmanager
async def keeping(
    path: str, read: Read, *, interval: float = LOG_INTERVAL
) -> AsyncIterator[Callable[[], dict[int, int]]]:
    """Keep the usage log during the block, and write it a last time at its end; threads access the file.

    Yields a function that returns the present bytes of each port over all runs.
    """
    usage_log = UsageLog(path, read)
    await in_thread_or_here(usage_log.load)
    try:
        async with background(_write_now_and_then(usage_log, interval)):
            yield usage_log.totals
    finally:
        usage_log.tick()
        await in_thread_or_here(usage_log.save)


async def _write_now_and_then(usage_log: UsageLog, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        usage_log.tick()
        with contextlib.suppress(OSError):  # there is no thread now
            await in_thread(usage_log.save)


class _PortUsage(Struct):
    """An entry of v0.7.2's format."""

    port: _Port = field(name="Port")
    usage: _Bytes = field(name="Usage")


class _Usage(Struct):
    """The format of later versions. Its total is not read, as it grows with every call instead of every byte."""

    port_usages: dict[_Port, _Bytes] | None


_DECODER: Final = msgspec.json.Decoder(_Usage | list[_PortUsage] | None)  # Go writes empty values as null


def _parse(data: bytes) -> dict[int, int]:
    """Return bytes per port; raise ValueError with the mistake, worded to follow the file's name."""
    if not data.strip():
        return {}  # an empty file made by hand to have the right owner
    try:
        document = _DECODER.decode(data)
    except UNREADABLE:
        raise ValueError("is no usage log") from None
    if isinstance(document, list):
        return {entry.port: entry.usage for entry in document}
    return (document and document.port_usages) or {}


def _render(usage: dict[int, int]) -> bytes:
    document = [_PortUsage(port, usage[port]) for port in sorted(usage)]
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
