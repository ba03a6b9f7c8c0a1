"""The HTTP/1.1 exchange that turns a connection into a WebSocket (RFC 6455 section 4), without input or output.

Requests look like those of Backhaul v0.7.2, but have no ``Sec-WebSocket-Extensions``: compression costs more than it
saves on data that is mostly encrypted, and a proxy or server that accepted it could use it for every message. Between
two ends of this program the request has a ``Cookie`` in place of the token, and no ``X-User-Id``; the answer has a
``Set-Cookie``. Both hold messages of the handshake, or an admission, and proxies pass them.
"""

import binascii
import hashlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from backhaul.errors import TransportError

from . import base64url
from .http1 import HeadError, Headers, Request, Response, ResponseReader

NONCE_SIZE: Final = 16
"""Random bytes in a ``Sec-WebSocket-Key`` (RFC 6455 section 4.1)."""

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
"""Browsers of the end of 2025, for ``request``."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

_BEARER: Final = b"Bearer "  # exactly so in v0.7.2
_COOKIE: Final = b"session="

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
UNAUTHORIZED: Final = "the server refused the token"
"""The error of an answer 401, which only a v0.7.2 server gives."""
_GATEWAY_ERRORS: Final = {
    status: f"a proxy in between answered {status}: it does not reach the server"
    for status in (502, 504, *range(520, 531))  # 52x and 530: Cloudflare
} | {
    429: "a proxy in between answered 429: it allows no more connections now; set dial_rate",  # v0.7.2 never does
    500: "a proxy in between answered 500: it does not reach the server, or does not accept its certificate",  # Traefik
    503: "a proxy in between answered 503: it does not reach the server, or limits connections",  # as nginx may
}
_MOST_DIGITS: Final = 9  # of a number of seconds
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST_LOCATION: Final = 200  # characters of a redirect in the log
_HINT: Final = "are token, remote_addr, path and transport right, and does a proxy in between pass WebSockets?"
_BAD_REQUEST: Final = 400
_BAD_REQUESTS: Final = {
    b"HTTPS": "should the client, or a proxy in between, use TLS (wss, wssmux)?",  # nginx, Go's net/http, Apache
    b"SSL certificate": "should a proxy in between exempt the tunnel from client certificates?",  # nginx
}
"""What bodies of answers 400 tell."""


class UpgradeError(TransportError):
    """The upgrade failed; the text is one line for the administrator."""


class RefusedError(UpgradeError):
    """A server has answered, and does not upgrade this request; a gateway in between has another error."""

    refused = True

    def __init__(self, what: str, hint: str = "") -> None:
        """Describe the answer; ``hint`` names the settings to check."""
        super().__init__(f"{what}: {hint}" if hint else what)
        self.what = what
        self.hint = hint


class Answer(NamedTuple):
    """The answer of a server that has agreed."""

    message: bytes
    """The server's message of a handshake; empty if there is none."""
    rest: bytes
    """The bytes after the blank line, which are the server's first ones in the new protocol."""


def encode_key(nonce: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Key`` made of ``NONCE_SIZE`` random bytes."""
    return binascii.b2a_base64(nonce, newline=False)


def key_of(request: Request) -> bytes:
    """Return the ``Sec-WebSocket-Key`` of a request, empty without one."""
    return request.headers.get(b"sec-websocket-key", b"")


def sec_accept(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that answers ``key`` (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The parts of a request that do not prove anything.

    ``host`` is ``remote_addr`` as configured. ``user_id`` is a random number below 2^31, which is also at the end of
    the path of a tunnel connection; a request with a message does not name it.
    """

    path: str
    host: str
    default_port: int
    """The port that browsers leave out of ``Host``."""
    key: bytes
    user_id: int
    user_agent: str


def request(asked: Asked, token: bytes) -> bytes:
    """Return the request that v0.7.2 sends; ``token`` is one line."""
    user_id = f"X-User-Id: {asked.user_id}\r\n".encode()
    return _request(asked, asked.host, proof=b"Authorization: Bearer " + token + b"\r\n", last=user_id)


def sealed_request(asked: Asked, message: bytes) -> bytes:
    """Return a request to a server with extensions: ``message`` begins a handshake, or is an admission.

    Its ``Host`` is that of a browser, because proxies may compare it with a name (HAProxy: ``hdr(host)``).
    """
    host = asked.host.removesuffix(f":{asked.default_port}")
    return _request(asked, host, proof=b"Cookie: " + _cookie(message) + b"\r\n")


def _request(asked: Asked, host: str, *, proof: bytes, last: bytes = b"") -> bytes:
    """Return a request with the line of a proof, and one at the end, which v0.7.2 alone has."""
    start = f"GET {asked.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {asked.user_agent}\r\n".encode()
    upgrade = f"Sec-WebSocket-Key: {asked.key.decode()}\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n"
    return start + proof + b"Connection: Upgrade\r\n" + upgrade.encode() + last + b"\r\n"


def sealed_message(request: Request) -> bytes:
    """Return the message in the cookie of a request; empty without one."""
    return _read_cookie(request.headers.get(b"cookie", b""))


def bearer(request: Request) -> bytes | None:
    """Return the token that the request carries, None without one; compare it in constant time."""
    value = request.headers.get(b"authorization", b"")
    return value.removeprefix(_BEARER) if value.startswith(_BEARER) else None


def is_direct_v072(request: Request) -> bool:
    """Return whether a v0.7.2 client wrote the request and no proxy has changed it."""
    return tuple(request.headers) == _V072_HEADERS


def upgrade_problem(request: Request) -> str:
    """Return the reason why the request does not upgrade to WebSocket, empty if it does.

    It does not look at the token; see ``bearer``.
    """
    headers = request.headers
    if request.method != b"GET":
        return "the method is not GET"
    if not _names_websocket(headers):
        return "the request asks for no WebSocket upgrade; a proxy in between may have removed it"
    if headers.get(b"sec-websocket-version") != b"13":
        return "the WebSocket version is not 13"
    if not _is_key(key_of(request)):
        return "the Sec-WebSocket-Key is not 16 bytes in base64"
    return ""


def accept(key: bytes, last_line: bytes = b"") -> bytes:
    """Return the answer that switches protocols, as v0.7.2 gives it.

    ``last_line`` is empty, a ``message_line``, or a ``padding_line``.
    """
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + sec_accept(key) + b"\r\n" + last_line + b"\r\n"
    )  # fmt: skip


def message_line(message: bytes) -> bytes:
    """Return the header line with the server's message of a handshake."""
    return _set_cookie(_cookie(message))


def padding_line(key: bytes) -> bytes:
    """Return a header line that keeps a v0.7.2 client from losing the bytes after the answer.

    On wsmux the client drops everything that it has read together with the end of the answer. This line and the blank
    line together fill its read buffer, so the buffer ends with the answer, however TCP cuts it. The line is only for
    clients that are ``is_direct_v072``: nginx gives up at an answer above 4 KiB (proxy_buffer_size).
    """
    size = _V072_READ_BUFFER - len(_set_cookie(_COOKIE)) - len(b"\r\n")
    return _set_cookie(_COOKIE + hashlib.shake_128(key).hexdigest(_V072_READ_BUFFER)[:size].encode())


class AnswerReader:
    """Reads the server's answer to the request with ``key``."""

    __slots__ = ("_head", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._head = ResponseReader()

    def feed(self, data: bytes) -> Answer | None:
        """Take more bytes; return the answer once its head is complete.

        Raises UpgradeError unless the server has switched to WebSocket.
        """
        try:
            response = self._head.feed(data)
        except HeadError as error:
            raise UpgradeError(f"{error}: are remote_addr and transport right?") from None
        if response is None:
            return None
        if response.status != _SWITCHING:
            raise _objection(response)
        self._check(response.headers)
        return Answer(_read_cookie(response.headers.get(b"set-cookie", b"")), response.rest)

    def _check(self, headers: Headers) -> None:
        if not _names_websocket(headers):
            raise UpgradeError("the server switched to something that is not WebSocket")
        if headers.get(b"sec-websocket-accept") != sec_accept(self._key):
            raise UpgradeError("the server's Sec-WebSocket-Accept answers another request")
        if headers.get(b"sec-websocket-extensions"):
            raise UpgradeError("the server uses a WebSocket extension that was not offered")


def _names_websocket(headers: Headers) -> bool:
    """Return whether both headers of an upgrade are present, in any case, alone or among other tokens."""
    return _has_token(headers, b"connection", b"upgrade") and _has_token(headers, b"upgrade", b"websocket")


def _has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    return any(part.strip().lower() == token for part in headers.get(name, b"").split(b","))


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == NONCE_SIZE
    except binascii.Error:
        return False


def _cookie(message: bytes) -> bytes:
    """Return the cookie with a message, which looks like the session of some website."""
    return _COOKIE + base64url.encode(message)


def _read_cookie(value: bytes) -> bytes:
    """Return the message in a header with cookies, and their attributes; empty without one.

    A proxy may add a cookie of the same name, to find the same server again; it is shorter than any message.
    """
    cookies = (part.strip() for part in value.replace(b",", b";").split(b";"))
    texts = (cookie.removeprefix(_COOKIE) for cookie in cookies if cookie.startswith(_COOKIE))
    return max(map(base64url.decode, texts), key=len, default=b"")


def _set_cookie(cookie: bytes) -> bytes:
    return b"Set-Cookie: " + cookie + b"; Path=/; HttpOnly\r\n"


def _objection(response: Response) -> UpgradeError:
    """Return the error for an answer that is not 101."""
    status, headers = response.status, response.headers
    if status == _UNAUTHORIZED:
        return _unauthorized(headers)
    if text := _GATEWAY_ERRORS.get(status):
        error = UpgradeError(text)
        error.retry_after = _seconds(headers.get(b"retry-after", b""))
        return error
    location = headers.get(b"location", b"")
    if status in _REDIRECTS and location:
        return RefusedError(f"the server redirects to {_loggable(location)}", "are remote_addr and transport right?")
    what = f"the server answered {status} instead of switching to WebSocket"
    told = (hint for words, hint in _BAD_REQUESTS.items() if status == _BAD_REQUEST and words in response.rest)
    return RefusedError(what, next(told, _HINT))


def _unauthorized(headers: Headers) -> UpgradeError:
    """Return the error for an answer 401, which no server of this program or of v0.7.2 gives with a challenge."""
    if b"www-authenticate" in headers:
        what = "a proxy in between, or another web server, demands a login"
        return RefusedError(what, "should it exempt the path of the tunnel?")
    return RefusedError(UNAUTHORIZED)


def _seconds(value: bytes) -> float:
    """Return the seconds of a ``Retry-After``; 0 for a date, which would need a clock (RFC 9110, section 10.2.3)."""
    return float(value) if value.isdigit() and len(value) <= _MOST_DIGITS else 0.0


def _loggable(location: bytes) -> str:
    text = location[:_LONGEST_LOCATION].decode("latin-1")
    return text if text.isprintable() else "(unreadable)"
