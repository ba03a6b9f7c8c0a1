"""A small HTTP/1.1 server for a page and its numbers, with one request per connection.

Every method is answered like GET, as in v0.7.2, unless the answer depends on it; HEAD gets no body, and only POST may
bring one. The connection is closed after the answer: there is no state between requests, and a poll per second costs
little.
"""

import asyncio
import errno
import functools
import socket
import sys
import time
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from backhaul.addresses import LOCAL, plain_ip
from backhaul.wire.http1 import HeadError, RequestReader
from backhaul.wire.http1 import Request as Head

MAX_VISITORS: Final = 64
"""Connections at a time. A browser opens six; beyond the limit new ones are closed at once."""

PATIENCE: Final = 15.0
"""Seconds for a request to arrive, and again for its answer to be read; browsers connect ahead of need."""

MAX_BODY: Final = 4096
"""Bytes of the body of a request."""

_TURNS: Final = 4  # of the event loop, within which a connection that it has accepted becomes a visitor
_READ_SIZE: Final = 4096
# From Python 3.13 on a server that closes removes its socket's file, which may be the service manager's.
_LEAVE_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a visitor."""

    path: str
    """The path without the query."""
    authorization: str
    """The value of the header Authorization; empty without one."""
    host: str
    """The value of the header Host; empty without one."""
    peer: str
    """The address of the visitor."""
    method: str = "GET"
    content_type: str = ""
    """The value of the header Content-Type; empty without one."""
    origin: str = ""
    """The value of the header Origin, which browsers send with a POST; empty without one."""
    accept: str = ""
    """The value of the header Accept; empty without one."""
    intent: str = ""
    """The value of the header X-Backhaul; empty without one."""
    body: bytes = field(default=b"", repr=False)
    """The body of a POST."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a visitor."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[Request], Awaitable[Response]]

_NO_HTTP: Final = Response(b"bad request\n", status=HTTPStatus.BAD_REQUEST)


def _both_families(host: str, port: int) -> socket.socket | None:
    """Return a socket for all addresses if ``host`` is a wildcard: in Go, and so in v0.7.2, this includes IPv6."""
    if host not in {"0.0.0.0", "::"} or not socket.has_dualstack_ipv6():
        return None
    try:
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as error:
        if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # IPv6 is switched off: use IPv4
            return None
        raise


class HttpServer:
    """Serves the answers of ``respond``; call ``start`` and ``stop`` once each, in the event loop.

    Every answer has the given ``headers``.
    """

    def __init__(
        self,
        respond: Respond,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        patience: float = PATIENCE,
        max_visitors: int = MAX_VISITORS,
    ) -> None:
        self._respond = respond
        self._headers = headers
        self._patience = patience
        self._max_visitors = max_visitors
        self._server: asyncio.Server | None = None
        self._sock: socket.socket | None = None  # the one passed to `serve`
        self._visits: dict[Task[None], None] = {}

    @property
    def visitors(self) -> int:
        """The number of connections."""
        return len(self._visits)

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which the system chooses for 0; raise OSError if that fails."""
        if sock := _both_families(host, port):
            self._server = await asyncio.start_server(self._welcome, sock=sock, limit=_READ_SIZE)
        else:
            self._server = await asyncio.start_server(self._welcome, host, port, limit=_READ_SIZE)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def serve(self, sock: socket.socket) -> None:
        """Listen on a socket, which this server owns from now on; raise OSError if that fails."""
        self._sock = sock
        copy = sock.dup()  # uvloop closes it some time
        if sock.family == socket.AF_UNIX:
            self._server = await asyncio.start_unix_server(self._welcome, sock=copy, limit=_READ_SIZE, **_LEAVE_FILE)
        else:
            self._server = await asyncio.start_server(self._welcome, sock=copy, limit=_READ_SIZE)

    async def stop(self) -> None:
        """Close the server and all its connections at once."""
        if self._server:
            self._server.close()
        if self._sock:
            self._sock.close()
        for _ in range(_TURNS):
            for visit in self._visits:
                visit.cancel()
            await asyncio.gather(*self._visits, return_exceptions=True)
            await asyncio.sleep(0)

    def _welcome(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._visits) >= self._max_visitors:  # the oldest has been answered, or has sent nothing
            oldest = next(iter(self._visits))
            del self._visits[oldest]
            oldest.cancel()
        visit = asyncio.create_task(self._visit(reader, writer))
        self._visits[visit] = None
        visit.add_done_callback(functools.partial(self._left, writer))

    def _left(self, writer: StreamWriter, visit: Task[None]) -> None:
        """Close the connection of a visitor; one that was cancelled before its first turn has done nothing."""
        self._visits.pop(visit, None)
        writer.transport.abort()  # nothing is lost: the system has all of the answer

    async def _visit(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits for the last byte
        try:
            head, body = await self._answer(reader, writer)
            async with asyncio.timeout(self._patience):
                writer.write(head)
                writer.write(body)  # apart, because visitors may share it
                await writer.drain()
        except (OSError, EOFError):
            pass  # a visitor that leaves or is too slow (TimeoutError is an OSError) is not worth a line

    async def _answer(self, reader: StreamReader, writer: StreamWriter) -> tuple[bytes, bytes]:
        """Read a request and return the head and the body of the answer.

        Raises OSError, or EOFError without a request.
        """
        try:
            async with asyncio.timeout(self._patience):
                head = await _read(reader)
                body = await _read_body(reader, head) if head.method == b"POST" else b""
        except HeadError:
            return self._encode(_NO_HTTP)
        response = await self._respond(_request(head, body, writer))
        return self._encode(response, with_body=head.method != b"HEAD")

    def _encode(self, response: Response, *, with_body: bool = True) -> tuple[bytes, bytes]:
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
        return "\r\n".join([*lines, "", ""]).encode(), response.body if with_body else b""


async def _read(reader: StreamReader) -> Head:
    head = RequestReader()
    while data := await reader.read(_READ_SIZE):
        if (request := head.feed(data)) is not None:
            return request
    raise EOFError


async def _read_body(reader: StreamReader, head: Head) -> bytes:
    """Return the body, if the head announces its length. Raises HeadError."""
    length = head.headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
        raise HeadError(f"the request has a body of {length!r} bytes")
    body, wanted = head.rest, int(length)
    while len(body) < wanted:
        if not (data := await reader.read(_READ_SIZE)):
            raise EOFError
        body += data
    return body[:wanted]


def _request(head: Head, body: bytes, writer: StreamWriter) -> Request:
    def value(name: bytes) -> str:
        return head.headers.get(name, b"").decode("latin-1")

    return Request(
        path=head.path,
        authorization=value(b"authorization"),
        host=value(b"host"),
        peer=_peer(writer),
        method=head.method.decode("latin-1"),
        content_type=value(b"content-type"),
        origin=value(b"origin"),
        accept=value(b"accept"),
        intent=value(b"x-backhaul"),
        body=body,
    )


def _peer(writer: StreamWriter) -> str:
    connection = writer.get_extra_info("socket")
    if connection and connection.family == socket.AF_UNIX:
        return LOCAL
    return plain_ip(writer.get_extra_info("peername") or ("unknown",))  # None: already closed
