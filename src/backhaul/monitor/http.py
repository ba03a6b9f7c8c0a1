"""A small HTTP/1.1 server for a page, its numbers and the API, with one request per connection.

HEAD is answered like GET without the body, and so are all other methods, as in v0.7.2, unless the answer depends on the
method. The connection is closed after the answer: there is no state between requests, and a poll per second costs
little.
"""

import asyncio
import contextlib
import errno
import functools
import socket
import sys
from asyncio import StreamReader, StreamWriter, Task
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

from backhaul.net.connector import with_port
from backhaul.net.resolver import find
from backhaul.wire.http1 import HeadError, RequestReader
from backhaul.wire.http1 import Request as Head

from .http_body import Body
from .http_connection import Connection, Open, discard, in_clear
from .http_messages import BodyError, Headers, Request, Respond, Response, Stream, encode, encode_stream
from .http_packing import packed

MAX_VISITORS: Final = 64
"""Connections at a time. A browser opens six; beyond the limit new ones are closed at once."""

MAX_STREAMS: Final = 16
"""Answers without an end at a time, beside the visitors; further ones are refused."""

PATIENCE: Final = 15.0
"""Seconds for a request to arrive, and again for its answer to be read; browsers connect ahead of need."""

GRACE: Final = 0.2
"""Seconds for answers that are being made when the server stops."""

_TURNS: Final = 4  # of the event loop, within which a connection that it has accepted becomes a visitor
_READ_SIZE: Final = 4096
# From Python 3.13 on a server that closes removes its socket's file, which may be the service manager's.
_LEAVE_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

_NO_HTTP: Final = Response(b"bad request\n", status=HTTPStatus.BAD_REQUEST)
_TOO_MANY: Final = Response(b"too many readers\n", status=HTTPStatus.SERVICE_UNAVAILABLE)


async def _sockets(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for all addresses of ``host``; raise OSError."""
    if both := _both_families(host, port):
        return [both]
    found = await find(host)
    opened: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys(found):
            opened.append(_bound(family, with_port(address, port)))
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened


def _both_families(host: str, port: int) -> socket.socket | None:
    """Return a socket for all addresses if ``host`` is a wildcard: in Go, and so in v0.7.2, this includes IPv6."""
    if host not in {"0.0.0.0", "::"} or not socket.has_dualstack_ipv6():
        return None
    try:
        return _bound(socket.AF_INET6, ("::", port), both=True)
    except OSError as error:
        if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:  # IPv6 is switched off: use IPv4
            return None
        raise


def _bound(family: int, address: tuple[Any, ...], *, both: bool = False) -> socket.socket:
    """Return a socket whose protocol is named, without which asyncio leaves Nagle's algorithm on; raise OSError."""
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


class HttpServer:
    """Serves the answers of ``respond``; call ``start`` or ``serve`` once, then ``stop``, in the event loop.

    Every answer has the given ``headers``. ``open_connection`` decides about TLS.
    """

    def __init__(
        self,
        respond: Respond,
        headers: Headers = (),
        *,
        open_connection: Open = in_clear,
        patience: float = PATIENCE,
        max_visitors: int = MAX_VISITORS,
        max_streams: int = MAX_STREAMS,
        grace: float = GRACE,
    ) -> None:
        self._respond = respond
        self._headers = headers
        self._open = open_connection
        self._patience = patience
        self._max_visitors = max_visitors
        self._max_streams = max_streams
        self._grace = grace
        self._servers: list[asyncio.Server] = []
        self._sock: socket.socket | None = None  # the one passed to `serve`
        self._visits: dict[Task[None], None] = {}  # the oldest first
        self._answering: set[Task[None]] = set()  # those of them whose request has arrived
        self._streams: set[Task[None]] = set()

    @property
    def visitors(self) -> int:
        """The number of connections."""
        return len(self._visits) + len(self._streams)

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which the system chooses for 0; raise OSError if that fails."""
        sockets = await _sockets(host, port)
        number: int = sockets[0].getsockname()[1]
        self._servers = [await asyncio.start_server(self._welcome, sock=sock, limit=_READ_SIZE) for sock in sockets]
        return number

    async def serve(self, sock: socket.socket) -> None:
        """Listen on a socket, which this server owns from now on; raise OSError if that fails."""
        self._sock = sock
        try:
            self._servers = [await self._serve(sock.dup())]  # uvloop closes the copy some time
        except OSError:
            sock.close()  # nobody should wait in it
            raise

    async def _serve(self, sock: socket.socket) -> asyncio.Server:
        if sock.family == socket.AF_UNIX:
            return await asyncio.start_unix_server(self._welcome, sock=sock, limit=_READ_SIZE, **_LEAVE_FILE)
        return await asyncio.start_server(self._welcome, sock=sock, limit=_READ_SIZE)

    async def stop(self) -> None:
        """Close the server and its connections; answers that are being made have a moment to leave."""
        for server in self._servers:
            server.close()
        if self._sock:
            self._sock.close()
        for stream in self._streams:
            stream.cancel()
        if self._answering:
            await asyncio.wait(self._answering, timeout=self._grace)
        for _ in range(_TURNS):
            visits = [*self._visits, *self._streams]
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
            await asyncio.sleep(0)

    def _welcome(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._visits) >= self._max_visitors:  # the oldest has been answered, or has sent nothing
            oldest = next(iter(self._visits))
            self._forget(oldest)
            oldest.cancel()
        visit = asyncio.create_task(self._visit(reader, writer))
        self._visits[visit] = None
        visit.add_done_callback(functools.partial(self._left, writer))

    def _left(self, writer: StreamWriter, visit: Task[None]) -> None:
        """Close the connection of a visitor; one that was cancelled before its first turn has done nothing."""
        self._forget(visit)
        self._streams.discard(visit)
        writer.transport.abort()  # nothing is lost: the system has all of the answer

    def _forget(self, visit: Task[None]) -> None:
        self._visits.pop(visit, None)
        self._answering.discard(visit)

    async def _visit(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits for the last byte
        # A visitor that leaves or is too slow (TimeoutError is an OSError) is not worth a line.
        with contextlib.suppress(OSError, EOFError):
            connection = await self._open(reader, writer)
            try:
                async with asyncio.timeout(self._patience):
                    head = await _read(connection)
            except HeadError:
                await self._send(connection, encode(_NO_HTTP, self._headers), _NO_HTTP.body)
                await self._end(connection)
                await discard(connection, self._patience)
                return
            await self._answer(head, connection)

    async def _answer(self, head: Head, connection: Connection) -> None:
        self._answering.add(_this_task())
        body = Body(head, connection, self._patience)
        try:
            answer = await self._respond(_request(head, body, connection))
        except BodyError as error:
            answer = Response(f"{error}\n".encode(), status=error.status)
        if isinstance(answer, Stream):
            async with contextlib.aclosing(answer.pieces):
                await self._stream(answer, head, connection)
        else:
            answer = await packed(answer, _value(head, b"accept-encoding"))
            pieces = () if head.method == b"HEAD" else (answer.body, *answer.more)
            await self._send(connection, encode(answer, self._headers), *pieces)
        await self._end(connection)
        await body.discard()

    async def _stream(self, stream: Stream, head: Head, connection: Connection) -> None:
        if len(self._streams) >= self._max_streams:
            await self._send(connection, encode(_TOO_MANY, self._headers), _TOO_MANY.body)
            return
        visit = _this_task()
        self._forget(visit)
        self._streams.add(visit)
        await self._send(connection, encode_stream(stream, self._headers))
        if head.method == b"HEAD":
            return
        async with _ending_with(connection, visit):
            async for piece in stream.pieces:
                await self._send(connection, piece)

    async def _send(self, connection: Connection, *pieces: bytes) -> None:
        async with asyncio.timeout(self._patience):
            await connection.send(*pieces)

    async def _end(self, connection: Connection) -> None:
        async with asyncio.timeout(self._patience):
            await connection.end()


def _this_task() -> Task[None]:
    task = asyncio.current_task()
    assert task  # noqa: S101 - each visit is one
    return task


@contextlib.asynccontextmanager
async def _ending_with(connection: Connection, visit: Task[None]) -> AsyncIterator[None]:
    """Cancel the visit when the visitor leaves during the block."""

    def left(_: Task[None]) -> None:
        visit.cancel()

    leaving = asyncio.create_task(_leave(connection))
    leaving.add_done_callback(left)
    try:
        yield
    finally:
        leaving.remove_done_callback(left)
        leaving.cancel()


async def _leave(connection: Connection) -> None:
    """Wait until a visitor leaves, who has nothing more to send."""
    with contextlib.suppress(OSError):
        while await connection.read(_READ_SIZE):
            pass


async def _read(connection: Connection) -> Head:
    head = RequestReader()
    while data := await connection.read(_READ_SIZE):
        if (request := head.feed(data)) is not None:
            return request
    raise EOFError


def _value(head: Head, name: bytes) -> str:
    return head.headers.get(name, b"").decode("latin-1")


def _request(head: Head, body: Body, connection: Connection) -> Request:
    value = functools.partial(_value, head)
    return Request(
        path=head.path,
        authorization=value(b"authorization"),
        host=value(b"host"),
        peer=connection.peer,
        certified=connection.certified,
        method=head.method.decode("latin-1"),
        query=head.query,
        content_type=value(b"content-type"),
        origin=value(b"origin"),
        fetch_site=value(b"sec-fetch-site"),
        accept=value(b"accept"),
        encodings=value(b"accept-encoding"),
        intent=value(b"x-backhaul"),
        last_event=value(b"last-event-id"),
        read=body.read,
    )
