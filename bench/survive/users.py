"""Users who exchange bytes and compare them. A lost user returns, and is counted each time."""

import asyncio
import contextlib
import os
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from itertools import count

import msgspec

from bench.processes import LOOPBACK
from bench.survive.services import BLOCK, block, digest

PATIENCE = 15.0  # seconds for the first answer of a connection, and for the last one
RETRY = 0.5  # seconds
STALL = 0.5  # seconds without an answer that are noted; the line alone takes less
BUSY_BYTES, BUSY_PAUSE = 4096, 0.25
TYPED, KEY_PAUSE = 32, 0.05
BULK_PAUSE = 0.025  # seconds from block to block: 20 Mbit/s, if the line has room
LIMIT = 2 * BLOCK

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Record(msgspec.Struct):
    """The events of one user, in the time of ``time.monotonic``."""

    kind: str
    exchanges: int = 0
    wrong: int = 0
    stalls: list[tuple[float, float]] = []  # from the question to its answer
    vain: int = 0  # connections without a first answer
    came: list[float] = []  # the first answer of each other connection
    lost: list[tuple[float, str]] = []  # the question without an answer, or the last answer, and the reason


class WrongBytesError(Exception):
    """Other bytes have arrived than were sent."""


class User:
    """Connects, works, and connects again after a loss."""

    kind = "idle"
    service = 0  # index of the port
    pause = 0.0

    def __init__(self, ports: Sequence[int], over: asyncio.Event) -> None:
        self.record = Record(self.kind)
        self.ready = asyncio.Event()
        self._port = ports[self.service]
        self._over = over
        self._since = 0.0  # the last question or answer

    async def run(self) -> None:
        """Work until it is over."""
        while not self._over.is_set():
            self.begin()
            try:
                async with self.connected() as (reader, writer):
                    await self._use(reader, writer)
            except (OSError, EOFError, TimeoutError):
                self.record.vain += 1
            await asyncio.sleep(RETRY)

    def begin(self) -> None:
        """Prepare for another connection."""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[Streams]:
        """Connect, and close the connection afterwards."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port, limit=LIMIT)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(self.ask(reader, writer), PATIENCE)
            await self._live(reader, writer)
        except WrongBytesError:
            self.record.wrong += 1

    async def _live(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._since = time.monotonic()
        self.record.came.append(self._since)
        self.ready.set()
        try:
            await self.work(reader, writer)
        except WrongBytesError:
            self._note_loss("wrong bytes")
            raise
        except asyncio.CancelledError:
            self._note_loss("stuck")
            raise
        except (OSError, EOFError) as error:
            self._note_loss(type(error).__name__)

    def _note_loss(self, why: str) -> None:
        self.record.lost.append((self._since, why))

    async def work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ask again and again."""
        while not self._over.is_set():
            await asyncio.sleep(self.pause)
            self._since = time.monotonic()
            await self.ask(reader, writer)
            self.note_answer()

    def note_answer(self) -> None:
        """Count an answer, and how long it has taken if that was long."""
        now, before = time.monotonic(), self._since
        self._since = now
        self.record.exchanges += 1
        if now - before > STALL:
            self.record.stalls.append((before, now))

    @abstractmethod
    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /) -> None:
        """Send something, and check the answer. Raises WrongBytesError."""


class Asking(User):
    """A user of the echo service."""

    size = TYPED

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /) -> None:
        """Send some bytes, and check that the same ones return."""
        question = os.urandom(self.size)
        writer.write(question)
        if await reader.readexactly(self.size) != question:
            raise WrongBytesError


class Idle(Asking):
    """A user who sends nothing until the end."""

    async def work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Wait, and ask once more."""
        surprise = asyncio.ensure_future(reader.read(1))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({surprise, over}, return_when=asyncio.FIRST_COMPLETED)
            if surprise.done():
                raise WrongBytesError if surprise.result() else EOFError
        finally:
            for task in (surprise, over):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.ask(reader, writer)


class Busy(Asking):
    """A user such as that of a database."""

    kind = "busy"
    size, pause = BUSY_BYTES, BUSY_PAUSE


class Shell(Asking):
    """A user who types."""

    kind = "shell"
    pause = KEY_PAUSE


class Download(User):
    """A user who downloads."""

    kind, service, pause = "download", 1, BULK_PAUSE

    def begin(self) -> None:
        """Expect the first block."""
        self._numbers = count()

    async def ask(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter, /) -> None:
        """Check the next block."""
        if await reader.readexactly(BLOCK) != block(next(self._numbers)):
            raise WrongBytesError


class Upload(User):
    """A user who uploads."""

    kind, service, pause = "upload", 2, BULK_PAUSE

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /) -> None:
        """Send a block, and check the digest that the target returns."""
        data = block(self.record.exchanges)
        writer.write(data)
        if await reader.readexactly(32) != digest(data):
            raise WrongBytesError
