"""An eavesdropper on the line between both ends, who records all bytes and can prevent handshakes."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from .cert import certificate
from .net import HOST, Listener

_REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Recording:
    """The reads of one connection, in both directions."""

    up: list[bytes] = field(default_factory=list)
    """From the client."""
    down: list[bytes] = field(default_factory=list)
    """From the server."""


class Eavesdropper:
    """Forwards connections to a port of this machine, as long as it is entered."""

    def __init__(self, listener: Listener, port: int) -> None:
        self.port = listener.port
        self.heard = bytearray()
        """All bytes of both directions."""
        self.recordings: list[Recording] = []
        """The connections that reached the server."""
        self.instead: Callable[[bytes], bytes | None] = lambda _: None
        """Returns the answer to a connection with these first bytes; None to forward it."""
        self.prevents = False
        """True if connections that begin with a message of a handshake are refused, as v0.7.2 does."""
        self.target = port
        """The port to which the next connection is forwarded."""
        self.then = port
        """The port for connections after that one."""
        self._sock = listener.sock
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._met, sock=self._sock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            await self._forward(reader, writer)
        writer.close()
        self._writers.discard(writer)
        self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1 << 16)
        self.heard += first
        if self.prevents and (refusal := _refusal(first)) is not None:
            writer.write(refusal)
            return
        if (answer := self.instead(first)) is not None:
            writer.write(answer)
            writer.write_eof()
            await reader.read()
            return
        recording = Recording([first])
        self.recordings.append(recording)
        far_reader, far_writer = await self._open()
        self._writers.add(far_writer)
        far_writer.write(first)
        pumps = (
            self._pump(reader, far_writer, recording.up.append),
            self._pump(far_reader, writer, recording.down.append),
        )
        await asyncio.gather(*pumps, return_exceptions=True)
        self._writers.discard(far_writer)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port, self.target = self.target, self.then
        return await asyncio.open_connection(HOST, port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Callable[[bytes], None]
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
                record(data)
                writer.write(data)
        finally:
            writer.close()


class TlsInterceptor(Eavesdropper):
    """Hears inside TLS: ends it with a certificate of its own, and has TLS with the server."""

    async def __aenter__(self) -> Self:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate("interceptor"))
        self._server = await asyncio.start_server(self._met, sock=self._sock, ssl=context)
        return self

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection(HOST, self.target, ssl=context)


def _refusal(first: bytes) -> bytes | None:
    """Return the answer of v0.7.2 to the first message of a handshake; None to its own."""
    if first.startswith(b"GET "):
        return None if b"\r\nAuthorization: " in first else _REFUSAL
    return b"" if len(first) > 2 and first[2] & 0x80 else None
