"""Requests and answers of the HTTP server."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from backhaul.errors import BackhaulError

Headers = tuple[tuple[str, str], ...]

_CLOSE: Final = ("Connection", "close")
_UNBUFFERED: Final = ("X-Accel-Buffering", "no")  # tells nginx, as a proxy, to pass on each piece at once


class BodyError(BackhaulError):
    """A body that is not read."""

    def __init__(self, text: str, status: HTTPStatus) -> None:
        super().__init__(text)
        self.status = status


async def no_body(_: int) -> bytes:
    """Return the body of a request without one."""
    return b""


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a visitor."""

    path: str
    """The path without the query."""
    authorization: str = ""
    """The value of the header Authorization; empty without one."""
    host: str = ""
    """The value of the header Host; empty without one."""
    peer: str = ""
    """The address of the visitor."""
    certified: bool = False
    """True if the visitor has proved to have a valid client certificate."""
    method: str = "GET"
    query: str = ""
    """The query without the question mark."""
    content_type: str = ""
    """The value of the header Content-Type; empty without one."""
    origin: str = ""
    """The value of the header Origin, which browsers send with a POST; empty without one."""
    fetch_site: str = ""
    """The value of the header Sec-Fetch-Site, by which browsers name the origin of a request; empty without one."""
    accept: str = ""
    """The value of the header Accept; empty without one."""
    encodings: str = ""
    """The value of the header Accept-Encoding; empty without one."""
    intent: str = ""
    """The value of the header X-Backhaul; empty without one."""
    last_event: str = ""
    """The value of the header Last-Event-ID; empty without one."""
    read: Callable[[int], Awaitable[bytes]] = field(default=no_body, repr=False, compare=False)
    """Reads a body of at most this many bytes; raises BodyError, OSError or EOFError."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a visitor."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = HTTPStatus.OK
    headers: Headers = ()
    more: tuple[bytes, ...] = ()
    """The rest of the body, if it has pieces, which need not be joined."""

    @property
    def length(self) -> int:
        """The number of bytes of the body."""
        return len(self.body) + sum(map(len, self.more))


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer without an end; a visitor who does not read it in time is cut off."""

    pieces: AsyncGenerator[bytes]
    content_type: str


Respond = Callable[[Request], Awaitable[Response | Stream]]


def encode(response: Response, common: Headers) -> bytes:
    """Return the head of an answer."""
    length = ("Content-Length", str(response.length))
    return _head(response.status, response.content_type, (length, _CLOSE, *common, *response.headers))


def encode_stream(stream: Stream, common: Headers) -> bytes:
    """Return the head of an answer without an end."""
    return _head(HTTPStatus.OK, stream.content_type, (_CLOSE, _UNBUFFERED, *common))


def _head(status: int, content_type: str, more: Headers) -> bytes:
    found, date = HTTPStatus(status), time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    headers = (("Date", date), ("Content-Type", content_type), *more)
    lines = [f"HTTP/1.1 {found.value} {found.phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()
