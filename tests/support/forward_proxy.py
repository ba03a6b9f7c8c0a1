"""A proxy on this machine, HTTP CONNECT or SOCKS5, written from RFC 9110 and RFC 1928 alone."""

import asyncio
import base64
import contextlib
import socket
import ssl
import struct

from .net import HOST

_REFUSED = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy:
    """Connects to the port that is asked for, on this machine whatever the host; records what it was asked for.

    ``kind`` is http, https, socks5 or socks5h. With a ``login`` (``user:password``) it requires that.
    """

    def __init__(self, kind: str, login: str = "") -> None:
        self.kind = kind
        self.asked: list[str] = []
        self.port = 0
        self._login = login
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, HOST, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def url(self, login: str = "") -> str:
        """Return the URL for a client with a ``login``."""
        return f"{self.kind}://{login}{'@' if login else ''}{'localhost' if self.kind == 'https' else HOST}:{self.port}"

    async def stop(self) -> None:
        """Stop listening, and end all connections."""
        assert self._server
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await (self._serve_http if self.kind.startswith("http") else self._serve_socks)(reader, writer)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self._running.discard(task)

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        proof = f"Proxy-Authorization: Basic {base64.b64encode(self._login.encode()).decode()}"
        if self._login and proof not in head:
            writer.write(_REFUSED)
            return
        method, authority, version = head[0].split(" ")
        assert (method, version, f"Host: {authority}" in head) == ("CONNECT", "HTTP/1.1", True)
        await self._forward(authority, reader, writer, b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def _serve_socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = 2 if self._login else 0
        assert version == 5
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes([5, wanted]))
        if self._login and not await self._logs_in(reader, writer):
            return
        version, command, _, kind = await reader.readexactly(4)
        assert (version, command) == (5, 1)
        host = await _read_host(reader, kind)
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        await self._forward(f"{host}:{port}", reader, writer, bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))

    async def _logs_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert await reader.readexactly(1) == b"\x01"
        fields = [await reader.readexactly((await reader.readexactly(1))[0]) for _ in range(2)]
        known = b":".join(fields).decode() == self._login
        writer.write(b"\x01\x00" if known else b"\x01\x01")
        return known

    async def _forward(
        self, authority: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes
    ) -> None:
        self.asked.append(authority)
        server_reader, server_writer = await asyncio.open_connection(HOST, int(authority.rpartition(":")[2]))
        for part in (answer[:9], answer[9:]):  # in two records, if over TLS
            writer.write(part)
            await writer.drain()
        try:
            await asyncio.gather(_pump(reader, server_writer), _pump(server_reader, writer))
        finally:
            server_writer.close()


async def _read_host(reader: asyncio.StreamReader, kind: int) -> str:
    if kind == 1:
        return socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
    if kind == 4:
        return socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
    return (await reader.readexactly((await reader.readexactly(1))[0])).decode()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on bytes and their end."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()
