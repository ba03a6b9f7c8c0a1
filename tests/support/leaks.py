"""What must be as it was when a test is over: open descriptors and tasks; and no callback may have failed."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from .net import until


class Books:
    """Takes stock when opened; ``balance`` waits until nothing more is there than then."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: list[dict[str, Any]] = []

    async def open(self) -> None:
        """Take stock."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self._failures.append(context))
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1")  # uvloop keeps a descriptor after the first
        server.close()
        await server.wait_closed()
        self._files = _open_files()
        self._tasks = asyncio.all_tasks()

    async def balance(self) -> None:
        """Wait for the balance; AssertionError names what is left, or what failed without anybody to tell."""
        try:
            await until(lambda: not self._left(), patience=5)
        except TimeoutError:
            raise AssertionError(f"left behind: {self._left()}") from None
        assert not self._failures

    def _left(self) -> list[str]:
        tasks = [repr(task) for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task()]
        return [*(_open_files() - self._files), *tasks]


def _open_files() -> Counter[str]:
    """Count the open descriptors of each kind: event loops replace some of theirs, so that numbers say nothing."""
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            kinds[str(entry.readlink()).partition(":")[0]] += 1
        except OSError:  # the descriptor of this very listing
            continue
    return kinds
