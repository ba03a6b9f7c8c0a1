"""The program as a separate process, as users run it."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .net import PATIENCE

TOKEN = f"bh1_{'for-tests':x<43}"
"""A token of the form of ``backhaul token``: the key of any other costs each program 100 ms."""


def passing(descriptors: Sequence[int], names: Sequence[str], variables: str = "") -> tuple[str, ...]:
    """Return a wrapper that passes ``descriptors`` as a service manager does: sd_listen_fds(3)."""
    redirections = " ".join(f"{3 + index}<&{descriptor}" for index, descriptor in enumerate(descriptors))
    variables += f" LISTEN_FDS={len(descriptors)} LISTEN_PID=$$ LISTEN_FDNAMES={':'.join(names)}"
    return ("bash", "-c", f'exec {redirections}; {variables} exec "$@"', "bash")


_RUNNING: Final[weakref.WeakSet["Program"]] = weakref.WeakSet()


def kill_all() -> None:
    """Kill what a test has left running: uvloop closes no loop as long as a process writes to a pipe of it."""
    for program in list(_RUNNING):
        if not program.has_ended:
            with contextlib.suppress(ProcessLookupError):
                program.signal(signal.SIGKILL)


class Program:
    """A running ``python -m backhaul`` with its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        _RUNNING.add(self)

    @classmethod
    async def start(
        cls, *arguments: str | Path, descriptors: int = 0, wrapper: Sequence[str] = (), inherit: Sequence[int] = ()
    ) -> "Program":
        """Run it with ``arguments``, by a ``wrapper`` that becomes it.

        It has the descriptors ``inherit`` of this process, and can open no more than ``descriptors`` if given.
        """
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NO_COLOR": "1"}
        process = await asyncio.create_subprocess_exec(
            *wrapper,
            sys.executable,
            "-m",
            "backhaul",
            *arguments,
            env=environment,
            pass_fds=inherit,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        if descriptors:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
        return cls(process)

    async def line(self, part: str) -> str:
        """Wait for the next line of the log that holds ``part``, and return it."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            while line := (await self._process.stdout.readline()).decode():
                self.lines.append(line)
                if part in line:
                    return line
        raise EOFError(f"{part!r} was never said: {self.text}")

    async def ended(self) -> int:
        """Wait for the end; return the exit code, negative for a signal."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            self.lines += (await self._process.stdout.read()).decode().splitlines(keepends=True)
            return await self._process.wait()

    @property
    def text(self) -> str:
        """The part of the log that has been read."""
        return "".join(self.lines)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """True if the process has ended."""
        return self._process.returncode is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it, unless it has ended."""
        if not self.has_ended:
            self._process.kill()
        await self.ended()
