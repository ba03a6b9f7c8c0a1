"""Heads of HTTP/1.1 requests and answers (RFC 9112 section 2), without input or output.

A reader takes bytes as they arrive and returns the head once its blank line is complete. It serves peers that send one
head and then something else: another protocol after an upgrade, or nothing. It does not read bodies.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn

import httptools

from backhaul.errors import BackhaulError

MAX_HEAD: Final = 16384
"""Bytes up to the blank line. Browsers and proxies stay below 8 KiB; the padded answer of an upgrade needs 4.3 KiB."""
MAX_HEADERS: Final = 100
"""Header lines of a request or answer; the limit of Apache's httpd."""

_INTERIM: Final = frozenset({100, *range(102, 200)})  # RFC 9110 section 15.2, without 101
_MOST_INTERIM: Final = 5  # as in Go's net/http
_END_OF_HEAD: Final = b"\r\n\r\n"
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Headers = dict[bytes, bytes]
"""Values by name. Names are in lower case, the values of a repeated name are joined by commas."""


class HeadError(BackhaulError):
    """A head that is not valid HTTP, or too long; the caller closes the connection."""


@dataclass(slots=True)
class Request:
    """The head of a request."""

    method: bytes
    path: str
    """Without the query."""
    headers: Headers = field(repr=False)  # they hold tokens and passwords
    rest: bytes = field(repr=False)
    """The bytes after the blank line that have arrived already."""
    query: str = field(default="", repr=False)


class Response(NamedTuple):
    """The head of an answer."""

    status: int
    headers: Headers
    rest: bytes
    """The bytes after the blank line that have arrived already."""


class RequestReader:
    """Reads the head of one request, however its bytes are cut."""

    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head = _Collector("request", _LETTERS)

    def feed(self, data: bytes) -> Request | None:
        """Take more bytes; return the request once its head is complete. Raises HeadError."""
        if (rest := self._head.feed(data)) is None:
            return None
        lines = _Lines()
        parser = httptools.HttpRequestParser(lines)
        self._head.parse(parser, lines)
        path, _, query = lines.target.decode("latin-1").partition("?")
        return Request(parser.get_method(), path, lines.headers, rest, query)


class ResponseReader:
    """Reads the head of one answer, however its bytes are cut. Interim answers (1xx) before it are skipped."""

    __slots__ = ("_head", "_skipped")

    def __init__(self) -> None:
        self._head = _Collector("answer", b"H")
        self._skipped = 0

    def feed(self, data: bytes) -> Response | None:
        """Take more bytes; return the answer once its head is complete. Raises HeadError."""
        while (rest := self._head.feed(data)) is not None:
            response = self._parse(rest)
            if response.status not in _INTERIM:
                return response
            self._skip()
            data = rest
        return None

    def _skip(self) -> None:
        if self._skipped == _MOST_INTERIM:
            raise HeadError(f"more than {_MOST_INTERIM} interim answers")
        self._skipped += 1
        self._head = _Collector("answer", b"H")

    def _parse(self, rest: bytes) -> Response:
        lines = _Lines()
        parser = httptools.HttpResponseParser(lines)
        self._head.parse(parser, lines)
        return Response(parser.get_status_code(), lines.headers, rest)


class _Lines:
    """Collects the lines that the parser finds."""

    __slots__ = ("complete", "count", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: Headers = {}
        self.count = 0
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        if self.count > MAX_HEADERS:
            return  # the head will be refused, so further headers take no memory
        name = name.lower()
        self.headers[name] = self.headers[name] + b", " + value if name in self.headers else value

    def on_headers_complete(self) -> None:
        self.complete = True


class _Collector:
    """Collects the bytes up to the blank line; the parser gets them all at once after that."""

    __slots__ = ("_buffer", "_first", "_what")

    def __init__(self, what: str, first: bytes) -> None:
        """``first`` holds the bytes that a head can begin with, so another protocol is refused at its first byte."""
        self._buffer = bytearray()
        self._what = what
        self._first = first

    def feed(self, data: bytes) -> bytes | None:
        """Take more bytes; return those after the blank line once that has arrived. Raises HeadError."""
        searched = max(0, len(self._buffer) + 1 - len(_END_OF_HEAD))
        self._buffer += data
        if self._buffer and self._buffer[0] not in self._first:
            self._refuse()
        found = self._buffer.find(_END_OF_HEAD, searched)
        end = len(self._buffer) if found < 0 else found + len(_END_OF_HEAD)
        if end > MAX_HEAD:
            raise HeadError(f"the {self._what} has more than {MAX_HEAD} bytes of HTTP headers")
        if found < 0:
            return None
        rest = bytes(self._buffer[end:])
        del self._buffer[end:]
        return rest

    def parse(self, parser: httptools.HttpRequestParser | httptools.HttpResponseParser, lines: _Lines) -> None:
        """Let ``parser`` fill ``lines``. Raises HeadError."""
        # The parser may raise either of them after the headers, too; the head is valid if those are complete.
        with suppress(httptools.HttpParserUpgrade, httptools.HttpParserError):
            parser.feed_data(self._buffer)
        if not lines.complete:
            self._refuse()
        if lines.count > MAX_HEADERS:
            raise HeadError(f"the {self._what} has more than {MAX_HEADERS} HTTP headers")

    def _refuse(self) -> NoReturn:
        raise HeadError(f"the {self._what} is not valid HTTP")
