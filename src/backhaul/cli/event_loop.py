"""The event loop of a command."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from backhaul.errors import out_of_memory

T = TypeVar("T")
Factory = Callable[[], asyncio.AbstractEventLoop] | None


def fastest() -> Factory:
    """Return uvloop's event loop factory if it is installed, or None for that of asyncio."""
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T], factory: Factory = None) -> T:
    """Run a coroutine in an event loop of its own, and return its result."""
    runner = asyncio.Runner(loop_factory=factory)
    try:
        return runner.run(main)
    finally:
        _close(runner)


def _close(runner: asyncio.Runner) -> None:
    """Close the loop. It waits for its threads in a further one, which may not start; Python's exit waits anyway."""
    try:
        runner.close()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
