"""What a stranger gets to see who knocks at the door of ws, wss, wsmux or wssmux: a dull web server.

A wrong token and a plain visitor get the very same answer.
"""

import functools
import mimetypes
import socket
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from backhaul.relay.deadlines import Deadlines
from backhaul.relay.direction import Meter
from backhaul.relay.pair import End, Relay, Traffic
from backhaul.relay.poller import WOULD_BLOCK, release
from backhaul.wire.upgrade import Request

from .dialer import Dialer
from .resolver import Resolver
from .sockets import SocketOptions
from .tls import shake_hands

_UPSTREAM_TIMEOUT: Final = 10.0  # seconds for the connection to the website behind, and again for its TLS
_ANSWER_TIMEOUT: Final = 30.0  # seconds that a visitor may take to read an answer
# A visitor may still be talking, and closing on unread bytes would reset the answer away. nginx waits as long.
_LINGER_TIMEOUT: Final = 5.0  # seconds
_DRAIN: Final = 1 << 16  # bytes discarded per wake-up
_MAX_LINGERING: Final = 256  # visitors who have got their answer and stay; one more pushes out the oldest
_MAX_FORWARDED: Final = 256  # visitors of the website behind at a time; others find it overloaded
_MAX_FILE: Final = 8 << 20  # bytes: a decoy is a page, not a file server
_NOT_FOUND: Final = b"<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n</body>\r\n</html>\r\n"  # noqa: E501 - one page
_HTTP_PORT: Final = 80
_HTTPS_PORT: Final = 443


class Decoy:
    """Answers strangers; owns their connections until they are closed."""

    def __init__(self, relay: Relay, what: str) -> None:
        """`what` is "404", a directory, or the URL of a website."""
        self._relay = relay
        self._upstream = urlsplit(what) if what.startswith(("http://", "https://")) else None
        self._tls = ssl.create_default_context() if what.startswith("https://") else None
        self._root = None if self._upstream or what == "404" else Path(what).resolve()
        self._dialer = Dialer(relay.poller, _UPSTREAM_TIMEOUT, Resolver())
        self._greeting: Deadlines[_Visit] = Deadlines(_UPSTREAM_TIMEOUT, self._unheard)
        self._answering: Deadlines[_Answer] = Deadlines(_ANSWER_TIMEOUT, self._leave)
        self._lingering: Deadlines[_Answer] = Deadlines(_LINGER_TIMEOUT, self._leave)
        self._forwarded = 0

    def answer(self, sock: socket.socket, request: Request | None, raw: bytes) -> None:
        """Answer whoever sent `raw`, whose head was read as `request` unless it was no HTTP; takes over the socket."""
        if self._upstream and self._upstream.hostname:
            if self._forwarded >= _MAX_FORWARDED:
                self._send(_Answer(sock, _response("503 Service Unavailable", b"", "text/html")))
                return
            self._forwarded += 1
            connected = functools.partial(self._forward, sock, raw)
            port = self._upstream.port or (_HTTPS_PORT if self._tls else _HTTP_PORT)
            self._dialer.dial(self._upstream.hostname, port, SocketOptions(), connected)
        else:
            self._send(_Answer(sock, self._page(request)))

    def close(self) -> None:
        """Close the connections of those who are being answered."""
        self._dialer.close()
        for visit in self._greeting.clear():
            release(self._relay.poller, visit.upstream)
            release(self._relay.poller, visit.sock)
        for answer in (*self._answering.clear(), *self._lingering.clear()):
            self._leave(answer)

    def _page(self, request: Request | None) -> bytes:
        if request is None:
            return _response("400 Bad Request", b"", "text/html")
        body = None
        if self._root and request.method in {b"GET", b"HEAD"}:
            body = self._file(self._root, request.path)
        if body is None:
            return _response("404 Not Found", _NOT_FOUND, "text/html", head_only=request.method == b"HEAD")
        content, kind = body
        return _response("200 OK", content, kind, head_only=request.method == b"HEAD")

    @staticmethod
    def _file(root: Path, path: str) -> tuple[bytes, str] | None:
        try:
            file = (root / unquote(path).lstrip("/")).resolve()
            if file.is_dir():
                file = (file / "index.html").resolve()
            if not (file.is_relative_to(root) and file.is_file() and file.stat().st_size <= _MAX_FILE):
                return None
            return file.read_bytes(), mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        except (OSError, ValueError):
            return None

    def _forward(self, sock: socket.socket, raw: bytes, upstream: socket.socket | Exception) -> None:
        if isinstance(upstream, Exception):
            self._visitor_gone()
            self._send(_Answer(sock, _response("502 Bad Gateway", b"", "text/html")))
        elif self._tls and self._upstream and not isinstance(upstream, ssl.SSLSocket):
            self._greet(sock, raw, upstream, self._tls)
        else:
            self._relay.join(
                _end(sock),
                _end(upstream),
                Traffic(Meter(), Meter()),
                preface=raw,
                done=lambda _outcome: self._visitor_gone(),
            )

    def _visitor_gone(self) -> None:
        self._forwarded -= 1

    def _greet(self, sock: socket.socket, raw: bytes, upstream: socket.socket, tls: ssl.SSLContext) -> None:
        name = self._upstream.hostname if self._upstream else None
        try:
            wrapped = tls.wrap_socket(upstream, server_hostname=name, do_handshake_on_connect=False)
        except OSError as error:  # gone already
            release(self._relay.poller, upstream)
            self._forward(sock, raw, error)
            return
        visit = _Visit(sock, raw, wrapped)
        self._greeting.add(visit)
        shake_hands(self._relay.poller, wrapped, functools.partial(self._greeted, visit))

    def _greeted(self, visit: "_Visit", result: socket.socket | Exception) -> None:
        self._greeting.discard(visit)
        self._forward(visit.sock, visit.raw, result)

    def _unheard(self, visit: "_Visit") -> None:
        release(self._relay.poller, visit.upstream)
        self._forward(visit.sock, visit.raw, TimeoutError())

    def _send(self, answer: "_Answer") -> None:
        try:
            del answer.unsent[: answer.sock.send(answer.unsent)]
        except WOULD_BLOCK:
            pass
        except OSError:
            answer.unsent.clear()
        if not answer.unsent:
            self._answering.discard(answer)
            self._linger(answer)
        elif answer not in self._answering:
            self._answering.add(answer)
            self._relay.poller.on_writable(answer.sock, functools.partial(self._send, answer))

    def _linger(self, answer: "_Answer") -> None:
        """Say that this was all, and wait until the visitor has finished, too."""
        try:
            answer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._leave(answer)
            return
        if len(self._lingering) >= _MAX_LINGERING:
            self._leave(self._lingering.oldest())
        self._lingering.add(answer)
        self._relay.poller.ignore_writable(answer.sock)
        self._relay.poller.on_readable(answer.sock, functools.partial(self._drain, answer))

    def _drain(self, answer: "_Answer") -> None:
        try:
            if socket.socket.recv(answer.sock, _DRAIN):  # below TLS, if there is any
                return
        except WOULD_BLOCK:
            return
        except OSError:
            pass
        self._leave(answer)

    def _leave(self, answer: "_Answer") -> None:
        self._lingering.discard(answer)
        release(self._relay.poller, answer.sock)


class _Visit:
    """A visitor for whom the website behind is being greeted with TLS."""

    __slots__ = ("raw", "sock", "upstream")

    def __init__(self, sock: socket.socket, raw: bytes, upstream: ssl.SSLSocket) -> None:
        self.sock = sock
        self.raw = raw
        self.upstream = upstream


class _Answer:
    """An answer that is on its way."""

    __slots__ = ("sock", "unsent")

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self.sock = sock
        self.unsent = bytearray(data)


def _end(sock: socket.socket) -> End:
    return End(sock, half_close=not isinstance(sock, ssl.SSLSocket))


def _response(status: str, body: bytes, kind: str, *, head_only: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nServer: nginx\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if head_only else body)
