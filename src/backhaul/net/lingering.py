"""Connections that are closed when their peers have read everything: a lingering close.

A close with unread bytes, or before the last ones arrive, sends RST. The kernel then drops what it has not sent yet,
and the peer may drop what it has not read (RFC 9112, section 9.6).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, Protocol

from .buffers import shared_buffer
from .deadlines import Deadlines
from .descriptors import Descriptors

_PATIENCE: Final = 2.0  # seconds for a peer that does not end its direction
_MOST: Final = 256  # connections; the one that has lingered for longest makes room
_MOST_DISCARDED: Final = 16 << 20  # bytes of a connection: more than most lines hold

DRAIN: Final = shared_buffer(1 << 16)
"""For bytes to be discarded."""


class Watching(Protocol):
    """The part of a poller that lingering connections need."""

    descriptors: Descriptors

    def own(self, sock: socket.socket, readable: Callable[[], None], owner: "_Connection") -> None:
        """Call ``readable`` whenever ``sock`` has bytes, has ended or is broken."""

    def forget(self, sock: socket.socket) -> None:
        """Stop all calls."""


class Lingering:
    """Owns connections on which nothing more is sent, and discards their input until their peers have ended."""

    def __init__(
        self,
        poller: Watching,
        *,
        patience: float = _PATIENCE,
        most: int = _MOST,
        most_discarded: int = _MOST_DISCARDED,
    ) -> None:
        self._poller = poller
        self._most = most
        self._most_discarded = most_discarded
        self._connections: Deadlines[_Connection] = Deadlines(patience, lambda late: late.close())
        self._empty: asyncio.Event | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, sock: socket.socket) -> None:
        """Take over ``sock``; close it at once if it is broken, if descriptors are scarce, or after ``close``."""
        self._poller.forget(sock)
        if self._closed or sock.fileno() >= self._poller.descriptors.pending_end():
            sock.close()
            return
        connection = _Connection(self, sock, self._most_discarded)
        try:
            socket.socket.shutdown(sock, socket.SHUT_WR)  # below TLS, if any
            self._poller.own(sock, connection.readable, connection)  # ENOSPC, ENOMEM: epoll_ctl(2)
        except OSError:
            self._poller.forget(sock)
            sock.close()
            return
        if len(self) >= self._most:
            self._connections.oldest().close()
        self._connections.add(connection)

    def forget(self, connection: "_Connection") -> None:
        """Drop a connection that is being closed."""
        self._poller.forget(connection.sock)
        self._connections.discard(connection)
        if self._empty and not self._connections:
            self._empty.set()

    async def finish(self, patience: float) -> None:
        """Return when all connections are closed, after ``patience`` seconds at the latest."""
        self._empty = asyncio.Event()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._empty.wait()

    def close(self) -> None:
        """Close all connections, those that are added later as well."""
        self._closed = True
        for connection in self._connections.clear():
            connection.close()


class _Connection:
    """A lingering connection."""

    __slots__ = ("_left", "_lingering", "sock")

    def __init__(self, lingering: Lingering, sock: socket.socket, left: int) -> None:
        self._lingering = lingering
        self._left = left  # bytes that may still be discarded
        self.sock = sock

    def readable(self) -> None:
        """Discard some bytes; close at the end."""
        try:
            count = socket.socket.recv_into(self.sock, DRAIN)  # below TLS, if any
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        self._left -= count
        if not count or self._left < 0:
            self.close()

    def abort(self) -> None:
        """Close because the program has failed."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._lingering.forget(self)
        self.sock.close()
