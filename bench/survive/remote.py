"""Users who are real programs: an ssh session, and rsync copies of a tree of files."""

import asyncio
import contextlib
import filecmp
import os
import secrets
import shlex
import signal
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple, cast

from bench.processes import LOOPBACK, find_tool
from bench.survive.ssh import ssh_command
from bench.survive.users import Streams, User, WrongBytesError

SESSION_PAUSE = 1.0
FILES, FILE_SIZE = 128, 1 << 16
RATE = 500  # KiB/s: a copy lasts for some seconds, so that most faults find one on its way


class Remote(User):
    """A user whose connection belongs to a program."""

    service = 3

    def __init__(self, ports: Sequence[int], over: asyncio.Event, folder: Path) -> None:
        super().__init__(ports, over)
        self._ssh = ssh_command(folder / "ssh", ports[self.service])

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Streams]:
        """Start the program, and end it afterwards; its error output goes to the log."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            yield cast("Streams", (self._process.stdout, self._process.stdin))  # pipes, so there are both
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # Process.kill takes the status that asyncio waits for
            await self._process.wait()

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line of the next connection."""


class Session(Remote):
    """A user who has a remote shell calculate."""

    kind, pause = "ssh", SESSION_PAUSE

    def command(self) -> list[str]:
        """Run a shell."""
        return [*self._ssh, LOOPBACK, "sh"]

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /) -> None:
        """Send two numbers, and check their product."""
        one, other = secrets.randbits(30), secrets.randbits(30)
        writer.write(f"echo $(({one} * {other}))\n".encode())
        if await reader.readuntil() != f"{one * other}\n".encode():
            raise WrongBytesError


class Way(NamedTuple):
    """A direction, and both ends of it as rsync knows them."""

    source: Path
    copy: Path
    ends: tuple[str, str]


class Copies(Remote):
    """A user who copies the changes of a tree of files to the target, then others from there, and so on."""

    kind = "rsync"

    def __init__(self, ports: Sequence[int], over: asyncio.Event, folder: Path, rate: int = RATE) -> None:
        super().__init__(ports, over, folder)
        self._rate = rate
        here, there = folder / "here", folder / "there"
        for tree in (here, there):
            tree.mkdir()
        for number in range(FILES):
            (here / str(number)).write_bytes(os.urandom(FILE_SIZE))
        near, far = f"{here}/", f"{LOOPBACK}:{there}/"
        self._ways = cycle([Way(here, there, (near, far)), Way(there, here, (far, near))])
        self._way = next(self._ways)

    def begin(self) -> None:
        """Change a part of each file that is to be copied."""
        for file in self._way.source.iterdir():
            change(file)

    def command(self) -> list[str]:
        """Run rsync, which prints a line for each file."""
        flags = ["--archive", "--ignore-times", "--delete", "--outbuf=L", "--out-format=%n", f"--bwlimit={self._rate}"]
        return [find_tool("rsync"), *flags, f"--rsh={shlex.join(self._ssh)}", *self._way.ends]

    async def ask(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter, /) -> None:
        """Wait for the next file."""
        await reader.readuntil()

    async def work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wait for the end, compare, and turn round."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await self.ask(reader, writer)
                self.note_answer()
        if status := await self._process.wait():
            raise ConnectionError(f"rsync ends with {status}")
        if not same(self._way.source, self._way.copy):
            raise WrongBytesError
        self._way = next(self._ways)


def change(file: Path) -> None:
    """Write other bytes into a half of a file, wherever it begins."""
    data = bytearray(file.read_bytes())
    half = len(data) // 2
    start = secrets.randbelow(half + 1)
    data[start : start + half] = os.urandom(half)
    file.write_bytes(data)


def same(one: Path, other: Path) -> bool:
    """Return whether two folders have the same files with the same bytes."""
    names = sorted(file.name for file in one.iterdir())
    if names != sorted(file.name for file in other.iterdir()):
        return False
    return filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
