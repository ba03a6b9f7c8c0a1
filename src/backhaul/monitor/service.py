"""The monitor's parts, started and stopped together."""

from contextlib import AsyncExitStack

from .program import Program
from .settings import Settings
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


async def start(settings: Settings, program: Program) -> Monitor:
    """Start the parts requested by the settings, if any.

    Never fails: a port in use or an unreadable file causes a log line and does not affect the tunnel. The monitor asks
    the program, in the event loop, until it is stopped.
    """
    async with AsyncExitStack() as parts:
        whole = await _enter(parts, settings, program)
        started = parts.pop_all()
    return Monitor(started, whole=whole)


async def _enter(parts: AsyncExitStack, settings: Settings, program: Program) -> bool:
    usage = _no_usage
    if settings.sniffer:
        usage = await parts.enter_async_context(keeping(settings.sniffer_log, program.read))
    if not settings.has_page:
        return True
    from .web import serving  # noqa: PLC0415 - saves memory without a page

    return await parts.enter_async_context(serving(settings, program, usage))


def _no_usage() -> dict[int, int]:
    """Return nothing: without a usage log this is not called."""
    return {}
