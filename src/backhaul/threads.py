"""Calls that may wait for the disk, in threads."""

import asyncio
import errno
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from .errors import out_of_memory

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread; raise OSError, without a call, if none can start."""
    wanted = True

    def call() -> T:
        if not wanted:  # the executor keeps what it could not start, and another thread may come to it
            raise RuntimeError("too late")
        return function(*args, **kwargs)

    try:
        return await asyncio.to_thread(call)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        wanted = False
        raise OSError(errno.EAGAIN, str(error)) from None


async def in_thread_or_here(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread, or without one if none can start, which delays the event loop."""
    try:
        return await in_thread(function, *args, **kwargs)
    except OSError as error:
        if not out_of_memory(error):
            raise
    return function(*args, **kwargs)
