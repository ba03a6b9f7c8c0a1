"""An early end of connections whose line is dead although there is a path to the peer again."""

import contextlib
import functools
import socket
from typing import Final

from .options import Option, replace
from .tcp_info import TcpInfo, unacknowledged
from .timers import Timers

_USER_TIMEOUT: Final = getattr(socket, "TCP_USER_TIMEOUT", -1)  # milliseconds
_PROBING: Final = (
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", -1), 1),  # seconds of silence before the first probe
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", -1), 1),  # seconds between two
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


class Haste:
    """Ends connections on which nothing is acknowledged in a time in which a living line acknowledges something.

    Left alone, the kernel repeats bytes for a quarter of an hour (tcp(7), ``tcp_retries2``). A lasting
    ``TCP_USER_TIMEOUT`` would end living ones, too: those whose peer does not read, and those in an outage.
    """

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._judged: set[socket.socket] = set()

    def add(self, sock: socket.socket, spare: float) -> None:
        """Let a connection fail with ETIMEDOUT unless the peer's kernel acknowledges something.

        It has ``spare`` seconds, two at least, from the next repetition of bytes in flight if there are any. The
        connection stays the caller's; one that is closed already, or that the peer does not read, stays as it is.
        """
        if sock in self._judged:
            return
        with contextlib.suppress(OSError):  # it is closed
            info = TcpInfo.of(sock)
            if info.timeout and not _unread(sock, info):
                limit = spare + (2 * info.timeout if info.in_flight else 0)  # each repetition waits twice as long
                former = replace(sock, ((socket.IPPROTO_TCP, _USER_TIMEOUT, round(1000 * limit)), *_PROBING))
                self._judged.add(sock)
                self._judge_later(limit, sock, limit, former)

    def _judge_later(self, delay: float, sock: socket.socket, limit: float, former: list[Option]) -> None:
        self._timers.call_later(delay, functools.partial(self._judge, sock, limit, former))

    def _judge(self, sock: socket.socket, limit: float, former: list[Option]) -> None:
        """Restore a living connection; the kernel ends a dead one."""
        with contextlib.suppress(OSError):
            info = TcpInfo.of(sock)
            silence = 0 if _unread(sock, info) else info.silence
            if limit / 2 <= silence < limit:  # the last sign may be from before the line died
                self._judge_later(limit - silence, sock, limit, former)
                return
            if silence < limit:
                replace(sock, former)
        self._judged.discard(sock)


def _unread(sock: socket.socket, info: TcpInfo) -> bool:
    """Return whether the peer does not read; the kernel asks it less and less often, so its silence means nothing."""
    return not info.in_flight and unacknowledged(sock) > 0
