"""Messages that are sent whole before anything else happens on their connection."""

import functools
import socket
from collections.abc import Callable

from .poller import WOULD_BLOCK, Poller


def send_whole(
    poller: Poller, sock: socket.socket, data: bytes, sent: Callable[[], None], failed: Callable[[OSError], None]
) -> None:
    """Send `data`, waiting for the connection to take it, then call `sent`, or `failed` if it is dead.

    An empty send buffer takes one segment whatever its size (tcp_sendmsg asks for room before each); a small `mss`,
    or the end of a TLS handshake before it, leaves no more than that. The caller keeps the time.
    """
    try:
        rest = data[sock.send(data) :]
    except WOULD_BLOCK:
        rest = data
    except OSError as error:
        failed(error)
        return
    if rest:
        poller.on_writable(sock, functools.partial(send_whole, poller, sock, rest, sent, failed))
    else:
        poller.ignore_writable(sock)
        sent()
