"""Tunnel connections of v0.7.2 that become raw smux right after the answer to their upgrade."""

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Final

from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.net.tcp_info import unacknowledged
from backhaul.transports.connection import Connection

from .sessions import GateSession

# A v0.7.2 client drops bytes that it reads together with the end of the answer. It has read the answer a few
# milliseconds after its kernel has all of it (measured: 0 of 60 lost after 5 ms).
_PAUSE: Final = 0.01  # seconds


class Settling:
    """Passes each connection on when its peer has read the answer, unless its control channel ends before."""

    def __init__(self, poller: Poller, opened: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._opened = opened

    def add(self, connection: Connection, session: GateSession) -> None:
        """Take over a connection of the client with this session."""
        if not session.connected:
            release(self._poller, connection.sock)
        elif unacknowledged(connection.sock):
            self._later(connection.sock, functools.partial(self.add, connection, session))
        else:
            self._later(connection.sock, functools.partial(self._open, connection, session))

    def _later(self, sock: socket.socket, step: Callable[[], None]) -> None:
        self._loop.call_later(_PAUSE, self._poller.run, sock, step)

    def _open(self, connection: Connection, session: GateSession) -> None:
        if session.connected:
            self._opened(connection)
        else:
            release(self._poller, connection.sock)
