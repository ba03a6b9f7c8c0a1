"""The bytes that had arrived when a connection broke.

The answer to an upload that is not wanted may precede a reset, and whoever sends notices the reset first.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Final

from backhaul.net.predicates import waiting_bytes

BROKEN: Final = (ConnectionError, ssl.SSLEOFError)
"""Errors of a send after which no byte can leave any more; TLS reports the second one for a broken pipe."""

_READ: Final[set[socket.socket]] = set()


def read_rest(sock: socket.socket, readable: Callable[[], None], over: Callable[[], bool]) -> None:
    """Call ``readable`` until it has read all bytes that wait in ``sock``, or leaves them, or until it is ``over``.

    ``readable`` may call this again because a read fails; then nothing more is read.
    """
    if sock in _READ:
        return
    _READ.add(sock)
    before = 0
    try:
        while not over() and (left := waiting_bytes(sock)) and left != before:
            before = left
            readable()
    finally:
        _READ.discard(sock)
