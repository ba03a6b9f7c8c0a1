"""The HTTP/1.1 exchange that turns a connection into a WebSocket (RFC 6455 section 4), without input or output.

Requests look like those of Backhaul v0.7.2 except for two headers. They have no ``Sec-WebSocket-Extensions``:
compression costs more than it saves on data that is mostly encrypted, and a proxy or server that accepted it could use
it for every message. They have a ``Cookie``, by which this program at both ends recognises itself. Its value is an HMAC
over the request's own key: without the token it looks like any session cookie, and it is different each time. The
server answers with a ``Set-Cookie`` of the same kind. Proxies pass both, and v0.7.2 ignores them.
"""

import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

from backhaul.errors import TransportError

from .http1 import HeadError, Headers, Request, ResponseReader

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
_COOKIE: Final = "session"
_MARK_DIGITS: Final = 32  # the length of PHP's and many others' session ids
_LABELS: Final = {
    "ws": (b"backhaul request ", b"backhaul answer "),
    "wsmux": (b"backhaul mux request ", b"backhaul mux answer "),
}  # by the mark of the transport, so mismatched ends find out at the upgrade

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
_GATEWAY_ERRORS: Final = frozenset({502, 503, 504, *range(520, 531)})  # 52x and 530: Cloudflare


class UpgradeError(TransportError):
    """The upgrade failed; the text is one line for the administrator."""


class Answer(NamedTuple):
    """The answer of a server that has agreed."""

    carrier: str
    """The mark of the server's transport, "ws" or "wsmux"; empty unless it runs this program with the same token."""
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


def request(
    *, path: str, host: str, token: bytes, key: bytes, user_id: int, user_agent: str, carrier: str = "ws"
) -> bytes:
    """Return the client's request.

    ``host`` is ``remote_addr`` as configured, ``token`` one line, ``carrier`` the mark of the transport. ``user_id`` is
    a random number below 2^31, which is also at the end of the path of a tunnel connection.
    """
    start = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAuthorization: Bearer "
    cookie = _mark(_LABELS[carrier][0], token, key)
    rest = (
        f"\r\nConnection: Upgrade\r\nCookie: {cookie}\r\nSec-WebSocket-Key: {key.decode()}"
        f"\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nX-User-Id: {user_id}\r\n\r\n"
    )
    return start.encode() + token + rest.encode()


def bearer(request: Request) -> bytes | None:
    """Return the token that the request carries, None without one; compare it in constant time."""
    value = request.headers.get(b"authorization", b"")
    return value.removeprefix(_BEARER) if value.startswith(_BEARER) else None


def carrier_of(request: Request, token: bytes) -> str:
    """Return the mark of the client's transport; empty if the client is v0.7.2. Look at its ``bearer`` first."""
    cookie = request.headers.get(b"cookie", b"")
    return next((name for name in _LABELS if _mark(_LABELS[name][0], token, key_of(request)).encode() in cookie), "")


def without_mark(cookies: bytes, token: bytes, key: bytes) -> bytes:
    """Return the value of a ``Cookie`` header without the mark that ``request`` made for this key."""
    marks = {_mark(label, token, key).encode() for label, _ in _LABELS.values()}
    return b"; ".join(cookie for part in cookies.split(b";") if (cookie := part.strip()) not in marks)


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

    ``last_line`` is empty, a ``mark_line`` for a client with a mark, or a ``padding_line``.
    """
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + sec_accept(key) + b"\r\n" + last_line + b"\r\n"
    )  # fmt: skip


def mark_line(token: bytes, key: bytes, carrier: str = "ws") -> bytes:
    """Return the header line by which a client with the same token recognises this program and its transport."""
    return _set_cookie(_mark(_LABELS[carrier][1], token, key))


def padding_line(key: bytes) -> bytes:
    """Return a header line that keeps a v0.7.2 client from losing the bytes after the answer.

    On wsmux the client drops everything that it has read together with the end of the answer. This line and the blank
    line together fill its read buffer, so the buffer ends with the answer, however TCP cuts it. The line is only for
    clients that are ``is_direct_v072``: nginx gives up at an answer above 4 KiB (proxy_buffer_size).
    """
    size = _V072_READ_BUFFER - len(_set_cookie(f"{_COOKIE}=")) - len(b"\r\n")
    return _set_cookie(f"{_COOKIE}={hashlib.shake_128(key).hexdigest(_V072_READ_BUFFER)[:size]}")


class AnswerReader:
    """Reads the server's answer to the request with ``token`` and ``key``."""

    __slots__ = ("_head", "_key", "_token")

    def __init__(self, token: bytes, key: bytes) -> None:
        self._token = token
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
            raise UpgradeError(_explain(response.status))
        self._check(response.headers)
        return Answer(self._carrier(response.headers.get(b"set-cookie", b"")), response.rest)

    def _carrier(self, cookie: bytes) -> str:
        marks = ((name, _mark(answer, self._token, self._key)) for name, (_, answer) in _LABELS.items())
        return next((name for name, mark in marks if mark.encode() in cookie), "")

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


def _mark(label: bytes, token: bytes, key: bytes) -> str:
    """Return the cookie for this key, which only an end with the token can make."""
    return f"{_COOKIE}={hmac.digest(token, label + key, 'sha256').hex()[:_MARK_DIGITS]}"


def _set_cookie(cookie: str) -> bytes:
    return f"Set-Cookie: {cookie}; Path=/; HttpOnly\r\n".encode()


def _explain(status: int) -> str:
    """Return one line for the administrator about an answer that is not 101."""
    if status == _UNAUTHORIZED:
        return "the server refused the token"
    if status in _GATEWAY_ERRORS:
        return f"a proxy in between answered {status}: it does not reach the server"
    hint = "are token, remote_addr, path and transport right?"
    return f"the server answered {status} instead of switching to WebSocket: {hint}"
