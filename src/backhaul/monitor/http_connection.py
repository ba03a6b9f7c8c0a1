"""Connections of visitors as the HTTP server sees them."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from backhaul.addresses import LOCAL, plain_ip

MAX_DISCARDED: Final = 1 << 20
"""Bytes after an answer that are received and discarded, so that their sender reads the answer."""

_READ_SIZE: Final = 4096


class Connection(Protocol):
    """One visitor's connection; the creator of its reader and writer closes it."""

    @property
    def peer(self) -> str:
        """The address of the visitor."""

    @property
    def certified(self) -> bool:
        """True if the visitor has proved to have a valid client certificate."""

    async def read(self, most: int) -> bytes:
        """Return at most this many bytes, none at the end; raise OSError."""

    async def send(self, *pieces: bytes) -> None:
        """Send bytes, and return when the system has them all; raise OSError."""

    async def end(self) -> None:
        """Tell the visitor that no more bytes follow; raise OSError."""


Open = Callable[[StreamReader, StreamWriter], Awaitable[Connection]]
"""Makes the connection of a new visitor; raises OSError or EOFError to close it."""


class ClearConnection:
    """A connection without TLS."""

    certified = False

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.peer = peer_of(writer)
        self._reader = reader
        self._writer = writer

    async def read(self, most: int) -> bytes:
        """Return at most this many bytes, none at the end; raise OSError."""
        return await self._reader.read(most)

    async def send(self, *pieces: bytes) -> None:
        """Send bytes, and return when the system has them all; raise OSError."""
        for piece in pieces:  # sent separately, because visitors may share the bytes
            self._writer.write(piece)
            await self._writer.drain()

    async def end(self) -> None:
        """Tell the visitor that no more bytes follow; raise OSError."""
        if self._writer.can_write_eof():
            self._writer.write_eof()


async def discard(connection: Connection, patience: float, most: int = MAX_DISCARDED) -> None:
    """Receive what a visitor still sends, up to the end or ``most`` bytes.

    Closing the connection earlier would reset it, and lose the answer; the visitor must have been told that this has
    ended. Raises OSError, or TimeoutError, which is one, after ``patience`` seconds.
    """
    rest = most
    async with asyncio.timeout(patience):
        while rest > 0 and (data := await connection.read(_READ_SIZE)):
            rest -= len(data)


async def in_clear(reader: StreamReader, writer: StreamWriter) -> Connection:
    """Make a connection without TLS."""
    return ClearConnection(reader, writer)


def peer_of(writer: StreamWriter) -> str:
    """Return the address of a visitor."""
    connection = writer.get_extra_info("socket")
    if connection and connection.family == socket.AF_UNIX:
        return LOCAL
    return plain_ip(writer.get_extra_info("peername") or ("unknown",))  # None: already closed
