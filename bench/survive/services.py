"""The targets of the users: ``python -m bench.survive.services ECHO DOWNLOAD UPLOAD``, three ports on 127.0.0.1.

ECHO returns all bytes. DOWNLOAD sends numbered blocks without end, and UPLOAD answers each block with its digest.
"""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Awaitable, Callable
from itertools import count

from bench.processes import LOOPBACK

BLOCK = 1 << 16  # bytes
BACKLOG = 1024

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def block(number: int) -> bytes:
    """Return the block with this number; no two of a transfer are equal."""
    return digest(str(number).encode()) * (BLOCK // hashlib.sha256().digest_size)


def digest(data: bytes) -> bytes:
    """Return the checksum of a block."""
    return hashlib.sha256(data).digest()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return all bytes."""
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()


async def download(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send blocks until the user ends."""
    for number in count():
        writer.write(block(number))
        await writer.drain()


async def upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer blocks."""
    while True:
        writer.write(digest(await reader.readexactly(BLOCK)))
        await writer.drain()


def _served(serve: Serve) -> Serve:
    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await serve(reader, writer)
        writer.close()

    return quietly


async def main(ports: list[int]) -> None:
    """Serve until stopped."""
    for serve, port in zip((echo, download, upload), ports, strict=True):
        await asyncio.start_server(_served(serve), LOOPBACK, port, backlog=BACKLOG)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
