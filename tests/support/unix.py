"""Unix sockets in tests, with a proxy for ends that only speak TCP."""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from pathlib import Path

from .net import HOST, free_port


@contextlib.asynccontextmanager
async def forwarding_to(path: Path) -> AsyncIterator[int]:
    """Accept TCP connections on a port, as a proxy does, and forward them to a Unix socket; yield the port."""
    port = free_port()
    visits: set[asyncio.Task[None]] = set()

    def visited(reader: StreamReader, writer: StreamWriter) -> None:
        visits.add(asyncio.create_task(_forward(path, reader, writer)))

    server = await asyncio.start_server(visited, HOST, port)
    try:
        yield port
    finally:
        server.close()
        await asyncio.gather(*visits)


async def _forward(path: Path, reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.closing(writer.transport):
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        except OSError:
            return
        with contextlib.closing(far_writer.transport):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        return
    writer.transport.abort()
