"""An event loop that can start no thread for calls that wait."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class _Threadless(ThreadPoolExecutor):
    def submit(self, *_args: Any, **_keywords: Any) -> Future[Any]:  # noqa: ANN401 - those of any call
        raise RuntimeError("can't start new thread")


@contextlib.contextmanager
def threadless() -> Iterator[None]:
    """Let no thread start for the calls of the running loop during the block, as where TasksMax= is reached."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Threadless())
    try:
        yield
    finally:
        loop.set_default_executor(ThreadPoolExecutor())
