"""A small HTTP/1.1 server for a page and its numbers: one request on a connection.

Nothing here can be changed by a request, so every method is answered as GET is, as in v0.7.2; HEAD gets no body. The
connection is closed after the answer: no state between requests, and a visitor who polls once a second won't notice.
"""

import asyncio
import errno
import socket
import sys
import time
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from backhaul.addresses import LOCAL, plain_ip
from backhaul.wire.http1 import HeadError, RequestReader
from backhaul.wire.http1 import Request as Head

MAX_VISITORS: Final = 64
"""Connections at a time. A browser opens six; beyond the limit new ones are closed at once."""

PATIENCE: Final = 15.0
"""Seconds for a request to arrive, and again for its answer to be taken; browsers connect ahead of need."""

_READ_SIZE: Final = 4096
# From Python 3.13 on a server that closes removes its socket's file, which may be the service manager's.
_LEAVE_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


@dataclass(frozen=True, slots=True)
class Request:
    """What a visitor asks for."""

    path: str
    """Without the query."""
    authorization: str
    """Value of that header; empty without one."""
    host: str
    """Value of the header Host; empty without one."""
    peer: str
    """Address of the visitor."""


@dataclass(frozen=True, slots=True)
class Response:
    """What the visitor gets."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[Request], Awaitable[Response]]

_NO_HTTP: Final = Response(b"bad request\n", status=HTTPStatus.BAD_REQUEST)


def _both_families(host: str, port: int) -> socket.socket | None:
    """Return a socket for all addresses, if `host` asks for these: for Go, and so in v0.7.2, IPv6 is among them."""
    if host not in {"0.0.0.0", "::"} or not socket.has_dualstack_ipv6():
        return None
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as error:
        if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # IPv6 switched off: IPv4 it is
            return None
        raise


class HttpServer:
    """Serves what `respond` answers; `start` and `stop` once each, in the event loop.

    `headers` go with every answer, whatever it is.
    """

    def __init__(self, respond: Respond, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._respond = respond
        self._headers = headers
        self._server: asyncio.Server | None = None
        self._sock: socket.socket | None = None  # which it has been given
        self._visits: dict[Task[None], None] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which is chosen by the system for 0. Raises OSError."""
        if sock := _both_families(host, port):
            self._server = await asyncio.start_server(self._welcome, sock=sock, limit=_READ_SIZE)
        else:
            self._server = await asyncio.start_server(self._welcome, host, port, limit=_READ_SIZE)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def serve(self, sock: socket.socket) -> None:
        """Listen on a socket, which is this server's from now on; raises OSError."""
        self._sock = sock
        copy = sock.dup()  # uvloop closes it some time
        if sock.family == socket.AF_UNIX:
            self._server = await asyncio.start_unix_server(self._welcome, sock=copy, limit=_READ_SIZE, **_LEAVE_FILE)
        else:
            self._server = await asyncio.start_server(self._welcome, sock=copy, limit=_READ_SIZE)

    async def stop(self) -> None:
        """End at once, visitors included."""
        if self._server:
            self._server.close()
        if self._sock:
            self._sock.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    def _welcome(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._visits) >= MAX_VISITORS:  # the oldest is answered by now, or has said nothing
            oldest = next(iter(self._visits))
            del self._visits[oldest]
            oldest.cancel()
        visit = asyncio.create_task(self._visit(reader, writer))
        self._visits[visit] = None
        visit.add_done_callback(lambda done: self._visits.pop(done, None))

    async def _visit(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits for the last byte
        try:
            answer = await self._answer(reader, writer)
            async with asyncio.timeout(PATIENCE):
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError):
            pass  # who leaves, or takes too long (TimeoutError is an OSError), is no news
        finally:
            writer.transport.abort()  # nothing is lost: the system has all of the answer

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> bytes:
        """Read a request, return the bytes of the answer; raises OSError, or EOFError without a request."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = await _read(reader)
        except HeadError:
            return self._encode(_NO_HTTP)
        response = await self._respond(_request(head, writer))
        return self._encode(response, with_body=head.method != b"HEAD")

    def _encode(self, response: Response, *, with_body: bool = True) -> bytes:
        headers = (
            ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("Connection", "close"),
            *self._headers,
            *response.headers,
        )
        status = HTTPStatus(response.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + (response.body if with_body else b"")


async def _read(reader: StreamReader) -> Head:
    head = RequestReader()
    while data := await reader.read(_READ_SIZE):
        if (request := head.feed(data)) is not None:
            return request
    raise EOFError


def _request(head: Head, writer: StreamWriter) -> Request:
    return Request(
        path=head.path,
        authorization=head.headers.get(b"authorization", b"").decode("latin-1"),
        host=head.headers.get(b"host", b"").decode("latin-1"),
        peer=_peer(writer),
    )


def _peer(writer: StreamWriter) -> str:
    connection = writer.get_extra_info("socket")
    if connection and connection.family == socket.AF_UNIX:
        return LOCAL
    return plain_ip(writer.get_extra_info("peername") or ("unknown",))  # None: gone already
