"""The state to which a test must return: open descriptors and tasks, and no failed callback."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from .net import until


class Books:
    """Counts when opened; ``balance`` waits until the counts are the same again."""

    def __init__(self) -> None:
        self._files: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: list[dict[str, Any]] = []

    async def open(self) -> None:
        """Count descriptors and tasks."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: self._failures.append(context))
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1")  # uvloop keeps a descriptor after the first
        server.close()
        await server.wait_closed()
        self._files = _open_files()
        self._tasks = asyncio.all_tasks()

    async def balance(self) -> None:
        """Wait for the same counts; AssertionError names leaks and unreported failures."""
        try:
            await until(lambda: not self._left(), patience=5)
        except TimeoutError:
            raise AssertionError(f"left behind: {self._left()}") from None
        assert not self._failures

    def _left(self) -> list[str]:
        tasks = [repr(task) for task in asyncio.all_tasks() - self._tasks if task is not asyncio.current_task()]
        return [*(_open_files() - self._files), *tasks]


def _open_files() -> Counter[str]:
    """Count the open descriptors by kind: event loops replace some of theirs, so numbers mean nothing."""
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            kinds[_kind(str(entry.readlink()))] += 1
        except OSError:  # the descriptor of the listing itself
            continue
    return kinds


def _kind(name: str) -> str:
    """Return the kind of a descriptor. Files without a name, as pytest's own, are called differently now and then."""
    return "deleted file" if name.endswith("(deleted)") else name.partition(":")[0]
