"""The monitor's parts, started and stopped together."""

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack

from .settings import Settings
from .status import Read
from .usage import keeping


class Monitor:
    """A running monitor, made by `start`."""

    def __init__(self, parts: AsyncExitStack, *, whole: bool) -> None:
        self._parts = parts
        self.whole = whole
        """Whether everything that was asked for is there; a page whose port was taken is not."""

    async def stop(self) -> None:
        """Close the page and write the usage log a last time; once, and while `read` still works."""
        await self._parts.aclose()


async def start(settings: Settings, read: Read) -> Monitor:
    """Start what the settings ask for, which may be nothing at all.

    Never fails: a port in use or a file that can't be read costs a line in the log, not the tunnel. `read`
    is called in the event loop, until the monitor is stopped.
    """
    async with AsyncExitStack() as parts:
        whole = await _enter(parts, settings, read)
        started = parts.pop_all()
    return Monitor(started, whole=whole)


async def _enter(parts: AsyncExitStack, settings: Settings, read: Read) -> bool:
    usage = _usage(read)
    if settings.sniffer:
        usage = await parts.enter_async_context(keeping(settings.sniffer_log, read))
    if not settings.has_page:
        return True
    from .web import serving  # noqa: PLC0415 - memory that only those with a page pay

    return await parts.enter_async_context(serving(settings, read, usage))


def _usage(read: Read) -> Callable[[], dict[int, int]]:
    """Without a usage log: bytes of each port since the program started."""

    def usage() -> dict[int, int]:
        ports: Counter[int] = Counter()
        for port in read().ports:
            ports[port.port] += port.received + port.sent
        return ports

    return usage
