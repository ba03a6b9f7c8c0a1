"""The end of a socket: closed at once, or after its peer has ended."""

import socket
import struct
from typing import Final, Protocol

from .lingering import DRAIN, Lingering
from .tcp_info import unacknowledged

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close(2) sends RST (socket(7))


class Dropping(Protocol):
    """The part of a poller that closing a socket needs."""

    lingering: Lingering

    def drop(self, sock: socket.socket) -> None:
        """Stop all calls; the caller must close the socket at once."""


def release(
    poller: Dropping, sock: socket.socket, *, reset: bool = False, drained: bool = False, complete: bool = False
) -> None:
    """Drop ``sock`` from the poller and close it, optionally with a reset; harmless if it is closed already.

    ``drained`` means that the peer's end has been read, so no bytes remain to be discarded. Otherwise unread bytes let
    the socket linger. ``complete`` means that the peer was sent all bytes and their end: a reset that would cost it
    some of them becomes a clean end.
    """
    if sock.fileno() < 0:
        return
    try:  # each user ends here, and `contextlib.suppress` takes three calls of Python
        if reset and not (complete and unacknowledged(sock)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        elif not drained and socket.socket.recv_into(sock, DRAIN, 0, socket.MSG_DONTWAIT):  # below TLS, if any
            poller.lingering.add(sock)
            return
    except OSError:
        pass
    poller.drop(sock)
    sock.close()


def linger(poller: Dropping, sock: socket.socket) -> None:
    """End the direction of ``sock``, and close it when the peer, which may not have read the last bytes, has ended."""
    if sock.fileno() >= 0:
        poller.lingering.add(sock)
