"""A process that can start no thread, as where TasksMax= is reached."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def refuse_threads(patch: pytest.MonkeyPatch) -> None:
    """Let no thread start until ``patch`` is undone."""
    patch.setattr(threading.Thread, "start", _refuse)


@contextlib.contextmanager
def threadless() -> Iterator[None]:
    """Let no thread start during the block, not for calls of the running loop either."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor())
    with pytest.MonkeyPatch.context() as patch:
        refuse_threads(patch)
        yield
