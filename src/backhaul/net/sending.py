"""Sending of messages that must leave whole before anything else on their connection."""

import functools
import socket
from collections.abc import Callable

from .poller import WOULD_BLOCK, Poller


def send_whole(
    poller: Poller, sock: socket.socket, data: bytes, sent: Callable[[], None], failed: Callable[[OSError], None]
) -> None:
    """Send ``data``, waiting as long as the connection is full; call ``sent``, or ``failed`` if the connection breaks.

    Even an empty send buffer may accept a single segment (tcp_sendmsg asks for room before each one), which is little
    with a small ``mss``, or right after a TLS handshake. The caller is responsible for a time limit.
    """
    try:
        rest = data[sock.send(data) :]
    except WOULD_BLOCK:
        rest = data
    except OSError as error:
        failed(error)
        return
    if not rest:
        poller.ignore_writable(sock)
        sent()
        return
    try:
        poller.on_writable(sock, functools.partial(send_whole, poller, sock, rest, sent, failed))
    except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
        failed(error)
