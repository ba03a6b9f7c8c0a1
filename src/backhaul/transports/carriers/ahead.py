"""Connections that are dialled ahead of need: where connections freeze, a session needs several a second."""

import functools
import socket
from collections.abc import Callable
from typing import Final

from backhaul.net.deadlines import Deadlines
from backhaul.net.predicates import is_established
from backhaul.transports.client_end import Opened
from backhaul.transports.connection import Connection, SealedConnection

MOST: Final = 16
"""Connections that wait or are being dialled, for all sessions together."""


class Ahead:
    """Keeps as many connections ready as are needed until one is dialled.

    A need that is not met asks for one more, and a connection that nobody has needed asks for one less.
    """

    def __init__(self, dial: Callable[[Opened], None], drop: Callable[[socket.socket], None], kept: float) -> None:
        """``dial`` opens a connection as ``Door.dial`` does, and ``drop`` closes one, which waits ``kept`` seconds."""
        self._dial = dial
        self._drop = drop
        self._wanted = 0
        self._dialling: set[object] = set()
        self._ready: dict[socket.socket, SealedConnection] = {}
        self._unneeded: Deadlines[socket.socket] = Deadlines(kept, self._expired)

    def take(self) -> SealedConnection | None:
        """Return the connection that was opened last, if there is one, and see to the next ones."""
        found = self._last()
        if found is None:
            self._wanted = min(self._wanted + 1, MOST)
        for _ in range(self._wanted - len(self._ready) - len(self._dialling)):
            call = object()
            self._dialling.add(call)
            self._dial(functools.partial(self._dialled, call))
        return found

    def clear(self) -> None:
        """Close all connections, because there is no control channel; those that come later are closed, too."""
        self._wanted = 0
        self._dialling.clear()
        self._unneeded.clear()
        for sock in self._ready:
            self._drop(sock)
        self._ready.clear()

    def _last(self) -> SealedConnection | None:
        while self._ready:
            sock, connection = self._ready.popitem()
            self._unneeded.discard(sock)
            if is_established(sock):
                return connection
            self._drop(sock)
        return None

    def _dialled(self, call: object, result: Connection | Exception) -> None:
        expected = call in self._dialling
        self._dialling.discard(call)
        if expected and isinstance(result, SealedConnection):
            self._ready[result.sock] = result
            self._unneeded.add(result.sock)
            return
        self._wanted = 0  # more of those that fail are of no use
        if isinstance(result, Connection):
            self._drop(result.sock)

    def _expired(self, sock: socket.socket) -> None:
        self._wanted = max(self._wanted - 1, 0)
        del self._ready[sock]
        self._drop(sock)
