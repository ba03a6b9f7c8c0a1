"""Bridges: TLS connections with a plain socket in front of each.

The data path moves bytes between plain sockets, and Python's TLS sockets can't be nested. A TLS connection to a proxy
is therefore bridged to a pair of sockets on this machine, of which the caller gets one.
"""

import contextlib
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from .buffers import shared_buffer
from .closing import release
from .poller import WOULD_BLOCK, Poller

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER: Final = shared_buffer(1 << 16)  # holds whole TLS records, so that none stays unread where epoll can't see it
_LOOPBACK: Final = "127.0.0.1"
_PATIENCE: Final = 1.0  # seconds for a connection within this machine
_STRANGERS: Final = 8  # connections of other programs that are refused


class Bridges:
    """The bridges of a client."""

    def __init__(self) -> None:
        self._running: set[_Bridge] = set()

    def __len__(self) -> int:
        return len(self._running)

    def build(self, poller: Poller, tls: ssl.SSLSocket, received: bytes) -> socket.socket:
        """Return the plain socket of ``tls``, from which ``received`` was read already; raise OSError without ``tls``.

        A reset passes a bridge as well, so that half an answer is not taken for a whole one.
        """
        near, far = _pair()
        self._running.add(_Bridge(poller, tls, near, received, self._running.discard))
        return far

    def close(self) -> None:
        """Reset all connections."""
        for bridge in list(self._running):
            bridge.abort()


class _Bridge:
    """A bridge; it ends when both directions have ended, or either socket fails."""

    def __init__(
        self,
        poller: Poller,
        tls: ssl.SSLSocket,
        near: socket.socket,
        received: bytes,
        gone: "Callable[[_Bridge], None]",
    ) -> None:
        self._poller = poller
        self._socks = tls, near
        self._gone = gone
        self._open = 2
        for sock in self._socks:
            poller.guard(sock, self)
        _Direction(poller, near, tls, self).start(b"")
        _Direction(poller, tls, near, self).start(received)

    def ended(self) -> None:
        """Note that a direction has ended."""
        self._open -= 1
        if not self._open:
            self._close(reset=False)

    def abort(self) -> None:
        """Reset both connections."""
        self._close(reset=True)

    def _close(self, *, reset: bool) -> None:
        for sock in self._socks:
            release(self._poller, sock, reset=reset)
        self._gone(self)


class _Direction:
    """One direction of a bridge. While bytes wait for room no more are read."""

    def __init__(self, poller: Poller, source: socket.socket, sink: socket.socket, bridge: _Bridge) -> None:
        self._poller = poller
        self._source = source
        self._sink = sink
        self._bridge = bridge
        self._waiting = b""

    def start(self, received: bytes) -> None:
        """Begin with bytes that were read before."""
        self._poller.on_readable(self._source, self._readable)
        if received:
            self._send(memoryview(received))

    def _readable(self) -> None:
        try:
            count = self._source.recv_into(_BUFFER)
        except WOULD_BLOCK:
            return
        except OSError:
            self._bridge.abort()
            return
        if count:
            self._send(_BUFFER[:count])
        else:
            self._end()

    def _send(self, data: memoryview) -> None:
        try:
            sent = self._sink.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self._bridge.abort()
            return
        if sent < len(data):
            self._wait(bytes(data[sent:]))
        elif self._waiting:
            self._resume()

    def _wait(self, rest: bytes) -> None:
        self._waiting = rest
        self._poller.ignore_readable(self._source)
        self._poller.on_writable(self._sink, self._flush)

    def _flush(self) -> None:
        self._send(memoryview(self._waiting))

    def _resume(self) -> None:
        self._waiting = b""
        self._poller.ignore_writable(self._sink)
        self._poller.on_readable(self._source, self._readable)

    def _end(self) -> None:
        self._poller.ignore_readable(self._source)
        with contextlib.suppress(OSError):  # the other end is gone: its direction reports that
            socket.socket.shutdown(self._sink, socket.SHUT_WR)  # below TLS, if any
        self._bridge.ended()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection within this machine; raise OSError.

    A pair of Unix sockets supports neither resets nor the options of TCP.
    """
    with socket.create_server((_LOOPBACK, 0)) as listener:
        listener.settimeout(_PATIENCE)
        near = socket.create_connection(listener.getsockname(), _PATIENCE)
        try:
            far = _accept(listener, near.getsockname())
        except OSError:
            near.close()
            raise
    for sock in (near, far):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far


def _accept(listener: socket.socket, address: object) -> socket.socket:
    """Return the connection from ``address``, and close those that other programs of this machine have made."""
    for _ in range(_STRANGERS):
        sock, peer = listener.accept()
        if peer == address:
            return sock
        sock.close()
    raise OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
