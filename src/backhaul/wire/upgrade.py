"""The HTTP/1.1 exchange that turns a connection into a WebSocket (RFC 6455 section 4), without input or output.

Requests look as those of Backhaul v0.7.2 but for two headers. No `Sec-WebSocket-Extensions`: compression would
cost more than it saves on data that is mostly encrypted, and a proxy or server that accepted it could use it for
every message. And a `Cookie`, by which two of ours recognise each other: an HMAC over the request's own key, so
to whoever lacks the token it is one of the session cookies that half the web carries, different each time. The
server answers in kind with a `Set-Cookie`. Proxies pass both, and v0.7.2 looks at neither.
"""

import binascii
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, NoReturn

import httptools

from backhaul.errors import TransportError

MAX_HEAD: Final = 16384
"""Bytes up to the blank line. Browsers and proxies stay below 8 KiB, our padded answer needs 4.3 KiB."""
MAX_HEADERS: Final = 100
"""Header lines of a request or answer; the limit of Apache's httpd."""
NONCE_SIZE: Final = 16
"""Random bytes in a `Sec-WebSocket-Key` (RFC 6455 section 4.1)."""

_CHROME: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
_FIREFOX: Final = "rv:140.0) Gecko/20100101 Firefox/140.0"
_SAFARI: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15"
USER_AGENTS: Final = (
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME}",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_CHROME}",
    f"Mozilla/5.0 (X11; Linux x86_64) {_CHROME}",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; {_FIREFOX}",
    f"Mozilla/5.0 (X11; Linux x86_64; {_FIREFOX}",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI}",
)
"""Browsers of the end of 2025, for `request`; the choice is the caller's."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_END_OF_HEAD: Final = b"\r\n\r\n"
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_COOKIE: Final = "session"
_MARK_DIGITS: Final = 32  # the length of PHP's and many others' session ids
_LABELS: Final = {
    "ws": (b"backhaul request ", b"backhaul answer "),
    "wsmux": (b"backhaul mux request ", b"backhaul mux answer "),
}  # of what the tunnel connections carry, with TLS below or not: ends that do not fit learn of it at the upgrade

# The header lines of v0.7.2's client in its order. Proxies that rewrite the head change it.
_V072_HEADERS: Final = (
    b"host",
    b"user-agent",
    b"authorization",
    b"connection",
    b"sec-websocket-extensions",
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"upgrade",
    b"x-user-id",
)
_V072_READ_BUFFER: Final = 4096  # bytes: Go's bufio.Reader, through which its client reads the answer

_SWITCHING: Final = 101
_UNAUTHORIZED: Final = 401
_PHRASES: Final = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}
_GATEWAY_ERRORS: Final = frozenset({502, 503, 504, *range(520, 531)})  # 52x and 530: Cloudflare


class UpgradeError(TransportError):
    """The upgrade failed; the text is one line for the administrator, the connection is to be closed."""


@dataclass(slots=True)
class Request:
    """What a client asked for. Names of headers are in lower case; repeated ones are joined by commas."""

    method: bytes
    path: str
    """Without the query."""
    headers: dict[bytes, bytes] = field(repr=False)  # the token is in there
    rest: bytes = field(repr=False)
    """What came behind the blank line."""

    @property
    def key(self) -> bytes:
        """The `Sec-WebSocket-Key`, or empty."""
        return self.headers.get(b"sec-websocket-key", b"")


class Answer(NamedTuple):
    """The server has agreed."""

    carrier: str
    """What its tunnel connections carry, "ws" or "wsmux"; empty unless it is this program and has the same token."""
    rest: bytes
    """What came behind the blank line: the server's first bytes in the new protocol."""


class Problem(NamedTuple):
    """Why a request is no upgrade."""

    status: int
    """For `refuse`."""
    reason: str


def encode_key(nonce: bytes) -> bytes:
    """Return the `Sec-WebSocket-Key` made of `NONCE_SIZE` random bytes."""
    return binascii.b2a_base64(nonce, newline=False)


def sec_accept(key: bytes) -> bytes:
    """Return the `Sec-WebSocket-Accept` that answers `key` (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)


def request(
    *, path: str, host: str, token: bytes, key: bytes, user_id: int, user_agent: str, carrier: str = "ws"
) -> bytes:
    """Return the client's request; `host` is `remote_addr` as configured, `token` one line.

    `carrier` is "ws" or "wsmux": what its tunnel connections carry, with TLS below or not.

    `user_id` is a random number below 2^31; tunnel connections have it at the end of their path, too.
    """
    before = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAuthorization: Bearer "
    cookie = _mark(_LABELS[carrier][0], token, key)
    behind = (
        f"\r\nConnection: Upgrade\r\nCookie: {cookie}\r\nSec-WebSocket-Key: {key.decode()}"
        f"\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nX-User-Id: {user_id}\r\n\r\n"
    )
    return before.encode() + token + behind.encode()


def authorized(request: Request, token: bytes) -> bool:
    """Return whether the request carries the token; takes equally long for all wrong ones of a length."""
    return hmac.compare_digest(request.headers.get(b"authorization", b""), b"Bearer " + token)


def carrier_of(request: Request, token: bytes) -> str:
    """Return the carrier that the client named in its request; empty if it is v0.7.2. Ask `authorized` first."""
    cookie = request.headers.get(b"cookie", b"")
    return next((name for name in _LABELS if _mark(_LABELS[name][0], token, request.key).encode() in cookie), "")


def without_mark(cookies: bytes, token: bytes, key: bytes) -> bytes:
    """Return the value of a `Cookie` header without the cookie that `request` made for this key."""
    marks = {_mark(label, token, key).encode() for label, _ in _LABELS.values()}
    return b"; ".join(cookie for part in cookies.split(b";") if (cookie := part.strip()) not in marks)


def is_direct_v072(request: Request) -> bool:
    """Return whether the request is as v0.7.2's client wrote it: nothing in between has rewritten it."""
    return tuple(request.headers) == _V072_HEADERS


def upgrade_problem(request: Request) -> Problem | None:
    """Return why the request can't be accepted, or None; whether it may is `authorized`'s business."""
    headers = request.headers
    if request.method != b"GET":
        return Problem(405, "the method is not GET")
    if not _names_websocket(headers):
        return Problem(400, "no WebSocket upgrade is asked for; a proxy in between may have dropped it")
    if headers.get(b"sec-websocket-version") != b"13":
        return Problem(400, "the WebSocket version is not 13")
    if not _is_key(request.key):
        return Problem(400, "the Sec-WebSocket-Key is not 16 bytes in base64")
    return None


def accept(key: bytes, last_line: bytes = b"") -> bytes:
    """Return the answer that switches protocols, as v0.7.2 gives it.

    `last_line` is empty, `mark_line` for a client that names its carrier, or `padding_line`.
    """
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + sec_accept(key) + b"\r\n" + last_line + b"\r\n"
    )  # fmt: skip


def mark_line(token: bytes, key: bytes, carrier: str = "ws") -> bytes:
    """Return the header line that tells our client, who knows `token`, that the server is ours, and its carrier."""
    return _set_cookie(_mark(_LABELS[carrier][1], token, key))


def padding_line(key: bytes) -> bytes:
    """Return a header line that saves v0.7.2's client from losing what follows the answer at once.

    On wsmux it drops all that it has read together with the end of the answer. Line and blank line together
    are as long as its read buffer, so that buffer ends with the answer, however TCP cuts it. Only for clients
    that are `is_direct_v072`: nginx gives up at an answer above 4 KiB (proxy_buffer_size).
    """
    size = _V072_READ_BUFFER - len(_set_cookie(f"{_COOKIE}=")) - len(b"\r\n")
    return _set_cookie(f"{_COOKIE}={hashlib.shake_128(key).hexdigest(_V072_READ_BUFFER)[:size]}")


def refuse(status: int) -> bytes:
    """Return the answer with that status: 400, 401, 404 or 405. The connection is closed behind it."""
    phrase = _PHRASES[status]
    body = f"{phrase.lower()}\n"
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


class RequestReader:
    """Reads one request, however the bytes are cut."""

    __slots__ = ("_head",)

    def __init__(self) -> None:
        self._head = _Head("request", _LETTERS, "does the client use the same transport?")

    def feed(self, data: bytes) -> Request | None:
        """Take more bytes; the request once its blank line has come.

        Raises UpgradeError for what is not HTTP, or too long.
        """
        if (rest := self._head.feed(data)) is None:
            return None
        lines = _Lines()
        parser = httptools.HttpRequestParser(lines)
        self._head.parse(parser, lines)
        path = lines.target.partition(b"?")[0].decode("latin-1")
        return Request(parser.get_method(), path, lines.headers, rest)


class AnswerReader:
    """Reads the server's answer to the request that `token` and `key` were put into."""

    __slots__ = ("_head", "_key", "_token")

    def __init__(self, token: bytes, key: bytes) -> None:
        self._token = token
        self._key = key
        self._head = _Head("answer", b"H", "are remote_addr and transport right?")

    def feed(self, data: bytes) -> Answer | None:
        """Take more bytes; the answer once its blank line has come.

        Raises UpgradeError unless the server has switched to WebSocket.
        """
        if (rest := self._head.feed(data)) is None:
            return None
        lines = _Lines()
        parser = httptools.HttpResponseParser(lines)
        self._head.parse(parser, lines)
        if (status := parser.get_status_code()) != _SWITCHING:
            raise UpgradeError(_explain(status))
        self._check(lines.headers)
        return Answer(self._carrier(lines.headers.get(b"set-cookie", b"")), rest)

    def _carrier(self, cookie: bytes) -> str:
        marks = ((name, _mark(answer, self._token, self._key)) for name, (_, answer) in _LABELS.items())
        return next((name for name, mark in marks if mark.encode() in cookie), "")

    def _check(self, headers: dict[bytes, bytes]) -> None:
        if not _names_websocket(headers):
            raise UpgradeError("the server switched to something that is not WebSocket")
        if headers.get(b"sec-websocket-accept") != sec_accept(self._key):
            raise UpgradeError("the server's Sec-WebSocket-Accept answers another request")
        if headers.get(b"sec-websocket-extensions"):
            raise UpgradeError("the server uses a WebSocket extension that was not offered")


class _Lines:
    """Takes what the parser finds."""

    __slots__ = ("complete", "count", "headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.count = 0
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.count += 1
        if self.count > MAX_HEADERS:
            return  # it will be refused: whatever these are, they cost no more
        name = name.lower()
        self.headers[name] = self.headers[name] + b", " + value if name in self.headers else value

    def on_headers_complete(self) -> None:
        self.complete = True


class _Head:
    """Collects the bytes up to the blank line; the parser then gets them all at once."""

    __slots__ = ("_buffer", "_first", "_hint", "_what")

    def __init__(self, what: str, first: bytes, hint: str) -> None:
        self._buffer = bytearray()
        self._what = what
        self._first = first  # what it can begin with: another protocol is refused at its first byte
        self._hint = hint

    def feed(self, data: bytes) -> bytes | None:
        """Return what follows the blank line once that has come."""
        searched = max(0, len(self._buffer) + 1 - len(_END_OF_HEAD))
        self._buffer += data
        if self._buffer and self._buffer[0] not in self._first:
            self._refuse()
        found = self._buffer.find(_END_OF_HEAD, searched)
        end = len(self._buffer) if found < 0 else found + len(_END_OF_HEAD)
        if end > MAX_HEAD:
            raise UpgradeError(f"the {self._what} has more than {MAX_HEAD} bytes of HTTP headers")
        if found < 0:
            return None
        rest = bytes(self._buffer[end:])
        del self._buffer[end:]
        return rest

    def parse(self, parser: httptools.HttpRequestParser | httptools.HttpResponseParser, lines: _Lines) -> None:
        """Let `parser` fill `lines`."""
        # Either may be raised behind the headers, too; what counts is whether those are complete.
        with suppress(httptools.HttpParserUpgrade, httptools.HttpParserError):
            parser.feed_data(self._buffer)
        if not lines.complete:
            self._refuse()
        if lines.count > MAX_HEADERS:
            raise UpgradeError(f"the {self._what} has more than {MAX_HEADERS} HTTP headers")

    def _refuse(self) -> NoReturn:
        raise UpgradeError(f"the {self._what} is not valid HTTP: {self._hint}")


def _names_websocket(headers: dict[bytes, bytes]) -> bool:
    """Return whether both headers of an upgrade are there, each perhaps among other tokens, in any case."""
    return _has_token(headers, b"connection", b"upgrade") and _has_token(headers, b"upgrade", b"websocket")


def _has_token(headers: dict[bytes, bytes], name: bytes, token: bytes) -> bool:
    return any(part.strip().lower() == token for part in headers.get(name, b"").split(b","))


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == NONCE_SIZE
    except binascii.Error:
        return False


def _mark(label: bytes, token: bytes, key: bytes) -> str:
    """Return the cookie that only those who know the token can make for this key."""
    return f"{_COOKIE}={hmac.digest(token, label + key, 'sha256').hex()[:_MARK_DIGITS]}"


def _set_cookie(cookie: str) -> bytes:
    return f"Set-Cookie: {cookie}; Path=/; HttpOnly\r\n".encode()


def _explain(status: int) -> str:
    """Return what the administrator can do about an answer that is not 101."""
    if status == _UNAUTHORIZED:
        return "the server refused the token"
    if status in _GATEWAY_ERRORS:
        return f"a proxy in between answered {status}: it does not get through to the server"
    hint = "are token, remote_addr, path and transport right?"
    return f"the server answered {status} instead of switching to WebSocket: {hint}"
