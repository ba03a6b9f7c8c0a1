"""The client's half of the exchange with a proxy, HTTP CONNECT or SOCKS5, without input or output.

An exchange consumes no byte after the proxy's answer: those bytes are the server's first ones.
"""

import binascii
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from backhaul.addresses import address_text
from backhaul.errors import BackhaulError, uncapitalized

from .http1 import Response, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION, _LOGIN_VERSION = b"\5", b"\1"  # RFC 1928, section 3, and RFC 1929, section 2
_NO_METHOD: Final = b"\5\xff"
_SHORT_REPLY, _SHORTEST_ADDRESS = 2, 5
_IPV4, _NAME, _IPV6 = 1, 3, 4
_OK_FROM, _OK_BELOW = 200, 300
_UNREACHABLE: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_FORBIDDEN: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED})

_UNKNOWN_LOGIN: Final = "wrong user name or password"
_LOGIN_MISSING: Final = "it requires a user name and a password"
_OTHER_LOGIN: Final = "it requires an unsupported kind of login; only a user name with a password is supported"
_NO_SOCKS: Final = "the answer is not SOCKS5; is it another kind of proxy?"


class ProxyError(BackhaulError):
    """A proxy refused, or its answer is invalid; the text is the part of a log line after its name."""


@dataclass(frozen=True, slots=True)
class Login:
    """The name and the password for a proxy; an empty name means none are known."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class Step(NamedTuple):
    """The next step of an exchange."""

    taken: int
    """The number of bytes that belong to the answer."""
    send: bytes = b""
    done: bool = False


class Exchange(ABC):
    """A request to a proxy for a connection to ``host`` and ``port``; raises ProxyError for a host it can't name."""

    def __init__(self, host: str, port: int, login: Login) -> None:
        try:
            self._host = host if host.isascii() else host.encode("idna").decode()
        except UnicodeError:
            raise ProxyError(f"{host!r} is no valid host name") from None
        self._port = port
        self._login = login

    @property
    def destination(self) -> str:
        """The host and the port that are asked for."""
        return address_text(self._host, self._port)

    @abstractmethod
    def begin(self) -> bytes:
        """Return the first message."""

    @abstractmethod
    def feed(self, data: bytes) -> Step:
        """Take bytes of the proxy, at least one. Raises ProxyError."""


class HttpExchange(Exchange):
    """CONNECT (RFC 9110, section 9.3.6), with a login of the kind Basic (RFC 7617)."""

    def __init__(self, host: str, port: int, login: Login) -> None:
        super().__init__(host, port, login)
        self._answer = ResponseReader()

    def begin(self) -> bytes:
        """Return the request."""
        lines = [f"CONNECT {self.destination} HTTP/1.1", f"Host: {self.destination}"]
        if self._login.user:
            proof = binascii.b2a_base64(f"{self._login.user}:{self._login.password}".encode(), newline=False)
            lines.append(f"Proxy-Authorization: Basic {proof.decode()}")
        return "\r\n".join([*lines, "", ""]).encode()

    def feed(self, data: bytes) -> Step:
        """Take bytes up to the end of the answer's head. Raises ProxyError."""
        try:
            response = self._answer.feed(data)
        except BackhaulError as error:
            raise ProxyError(str(error)) from None
        if response is None:
            return Step(len(data))
        if not _OK_FROM <= response.status < _OK_BELOW:
            raise ProxyError(self._refusal(response))
        return Step(len(data) - len(response.rest), done=True)

    def _refusal(self, response: Response) -> str:
        status = response.status
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            return f"{self._login_refused(response)} ({_named(status)})"
        if status in _FORBIDDEN:
            return f"it allows no connection to {self.destination} ({_named(status)}); many allow port 443 only"
        if status in _UNREACHABLE:
            return f"it can't reach {self.destination} ({_named(status)})"
        return f"it refuses a connection to {self.destination} ({_named(status)})"

    def _login_refused(self, response: Response) -> str:
        if b"basic" not in response.headers.get(b"proxy-authenticate", b"basic").lower():
            return _OTHER_LOGIN
        return _UNKNOWN_LOGIN if self._login.user else _LOGIN_MISSING


class SocksExchange(Exchange):
    """CONNECT of SOCKS5 (RFC 1928), with a user name and a password if it asks for them (RFC 1929)."""

    def __init__(self, host: str, port: int, login: Login) -> None:
        super().__init__(host, port, login)
        from python_socks._protocols import errors, socks5  # noqa: PLC0415 - an extra, which few clients need

        self._protocol = socks5
        self._refusal = errors.ReplyError
        self._connection = socks5.Connection()
        self._reply = bytearray()
        self._received: Callable[[bytes], Step] = self._choose

    def begin(self) -> bytes:
        """Return the greeting."""
        login = self._login
        return self._connection.send(self._protocol.AuthMethodsRequest(login.user or None, login.password or None))

    def feed(self, data: bytes) -> Step:
        """Take bytes of the next reply. Raises ProxyError."""
        before = len(self._reply)
        self._reply += data
        size = _SHORT_REPLY if self._received != self._connected else _size(self._reply)
        if len(self._reply) < size:
            return Step(len(data))
        reply = bytes(self._reply[:size])
        self._reply.clear()
        return self._received(reply)._replace(taken=size - before)

    def _choose(self, reply: bytes) -> Step:
        """Log in by the method that the proxy has chosen."""
        if reply == _NO_METHOD:
            raise ProxyError(_OTHER_LOGIN if self._login.user else _LOGIN_MISSING)
        self._interpret(reply, _NO_SOCKS)
        if not isinstance(self._connection.state, self._protocol.StateServerWaitingForAuth):
            return self._ask()
        self._received = self._logged_in
        request = self._protocol.AuthRequest(self._login.user, self._login.password)
        return Step(0, self._connection.send(request))

    def _logged_in(self, reply: bytes) -> Step:
        self._interpret(reply, _UNKNOWN_LOGIN if reply.startswith(_LOGIN_VERSION) else _NO_SOCKS)
        return self._ask()

    def _ask(self) -> Step:
        self._received = self._connected
        return Step(0, self._connection.send(self._protocol.ConnectRequest(self._host, self._port)))

    def _connected(self, reply: bytes) -> Step:
        self._interpret(reply, "")
        return Step(0, done=True)

    def _interpret(self, reply: bytes, problem: str) -> None:
        """Let the connection take a whole reply. Raises ProxyError, with its own words if there is no ``problem``."""
        try:
            self._connection.receive(reply)
        except (self._refusal, ValueError) as error:  # ValueError: an address that can't be read
            raise ProxyError(problem or self._reason(error)) from None

    def _reason(self, error: Exception) -> str:
        if getattr(error, "error_code", None) is None:
            return _NO_SOCKS
        return f"it can't connect to {self.destination}: {uncapitalized(str(error))}"


def _size(reply: bytes | bytearray) -> int:
    """Return the size of the reply that begins with these bytes, as far as they tell; a refusal ends after its code."""
    if not reply.startswith(_VERSION) or reply[1:2] not in (b"", b"\0"):
        return _SHORT_REPLY
    if len(reply) < _SHORTEST_ADDRESS:
        return _SHORTEST_ADDRESS
    sizes = {_IPV4: 10, _IPV6: 22, _NAME: 7 + reply[4]}
    return sizes.get(reply[3], _SHORTEST_ADDRESS)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
