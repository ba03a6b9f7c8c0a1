"""The monitor's parts, started and stopped together."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from .connections import NO_CONNECTIONS, Connections
from .settings import Settings
from .status import Read, traffic
from .times import Times, no_times
from .usage import keeping


class Monitor:
    """A running monitor, made by ``start``."""

    def __init__(self, parts: AsyncExitStack, *, whole: bool) -> None:
        self._parts = parts
        self.whole = whole
        """True if all requested parts run; false, for example, if the page's port was taken."""

    async def stop(self) -> None:
        """Close the page and write the usage log a last time; call once, while ``read`` still works."""
        await self._parts.aclose()


async def start(
    settings: Settings, read: Read, connections: Connections = NO_CONNECTIONS, times: Times = no_times
) -> Monitor:
    """Start the parts requested by the settings, if any.

    Never fails: a port in use or an unreadable file causes a log line and does not affect the tunnel. ``read`` is
    called in the event loop until the monitor is stopped.
    """
    async with AsyncExitStack() as parts:
        whole = await _enter(parts, settings, read, connections, times)
        started = parts.pop_all()
    return Monitor(started, whole=whole)


async def _enter(parts: AsyncExitStack, settings: Settings, read: Read, connections: Connections, times: Times) -> bool:
    usage = _usage(read)
    if settings.sniffer:
        usage = await parts.enter_async_context(keeping(settings.sniffer_log, read))
    if not settings.has_page:
        return True
    from .web import serving  # noqa: PLC0415 - saves memory without a page

    return await parts.enter_async_context(serving(settings, read, usage, connections, times))


def _usage(read: Read) -> Callable[[], dict[int, int]]:
    """Return a function that gives the bytes of each port since the program started, without a usage log."""

    def usage() -> dict[int, int]:
        return traffic(read())

    return usage
