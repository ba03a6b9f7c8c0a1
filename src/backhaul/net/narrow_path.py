"""The detection of a path that drops packets without a word.

It drops large ones if it has a smaller MTU and a filter for ICMP, or all but the first ones of a connection if a
firewall lets only those pass.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from backhaul.addresses import plain_ip

from . import freezing
from .log_throttle import LogThrottle
from .tcp_info import TcpInfo, unacknowledged

log = logging.getLogger("backhaul.tunnel")

_PAUSE: Final = 2.0  # seconds between two looks
_MOST: Final = 1000  # connections at one look, which take 1.5 ms
_IN_VAIN: Final = 5  # transmissions in a row: 6 seconds; a line that loses 30 % has as many once in 30 losses
_REPEATS: Final = 2  # of them between two signs of life: after an outage the first one succeeds
_NARROW: Final = 1024  # bytes: the kernel's own probing goes down to these, and they fit any usual path
# Bytes on average in the segments that have arrived on a connection that has frozen. On a path with a smaller MTU only
# small ones arrive: 550 bytes on average if they are the first records of a session.
_LARGE: Final = 700
_ONCE: Final = 300.0  # seconds between two warnings of one peer


class NarrowPath:
    """Warns of connections that send full segments in vain while small messages of the same peer arrive.

    ``connections`` returns all connections of an end. Messages of a peer lead to a look at them, but not too often.
    """

    def __init__(
        self,
        connections: Callable[[], Sequence[socket.socket]],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: float = _PAUSE,
        in_vain: int = _IN_VAIN,
        repeats: int = _REPEATS,
    ) -> None:
        """Warn after ``in_vain`` transmissions in a row, of which there were ``repeats`` since another look."""
        self._connections = connections
        self._clock = clock
        self._pause, self._least, self._repeats = pause, in_vain, repeats
        self._next = 0.0
        self._place = 0  # among the connections, of those at the next look
        self._heard: set[socket.socket] = set()  # control channels, since the last look
        self._in_vain: dict[socket.socket, int] = {}  # transmissions when that was first seen
        self._throttle = LogThrottle(log, _ONCE, clock=clock)

    def heard(self, control: socket.socket) -> None:
        """Note that a message, which is small, has arrived on a control channel just now."""
        self._heard.add(control)
        now = self._clock()
        if now >= self._next:
            self._next = now + self._pause
            self._look()
            self._heard.clear()

    def _look(self) -> None:
        frozen: dict[str, list[int]] = {}
        for peer, info in self._stuck():
            if _has_frozen(info):
                frozen.setdefault(peer, []).append(info.arrived)
            else:
                self._warn_of_size(peer, info.mss)
        for peer, arrived in frozen.items():
            self._compare(peer, sorted(arrived))

    def _stuck(self) -> Iterator[tuple[str, TcpInfo]]:
        """Yield the peers to which connections have sent in vain for long, although messages of theirs have arrived."""
        before, self._in_vain = self._in_vain, {}
        heard = {way for control in self._heard for way in _ways(control)}
        for sock in {*before, *self._some()}:
            info = _in_vain(sock)
            if count := info.in_vain:
                first = self._in_vain[sock] = before.get(sock, count)
                often = count >= max(self._least, first + self._repeats)
                if often and heard.intersection(ways := _ways(sock)):
                    yield plain_ip(ways[0]), info

    def _some(self) -> Sequence[socket.socket]:
        """Return the connections whose turn it is."""
        every, begin = self._connections(), self._place
        self._place = begin + _MOST if begin + _MOST < len(every) else 0
        return every[begin : begin + _MOST]

    def _warn_of_size(self, peer: str, mss: int) -> None:
        self._throttle.warn(
            peer,
            f"connection to {peer}: segments of {mss} bytes are lost again and again while small ones arrive; a "
            "smaller MTU on the way is likely: set mss = 1300, or less, on both ends",
        )

    def _compare(self, peer: str, arrived: Sequence[int]) -> None:
        """Warn if connections of a peer have frozen after a similar number of bytes, in whose order those are."""
        for least, largest in zip(arrived, arrived[freezing.ALIKE - 1 :], strict=False):
            if freezing.alike((least, largest)):
                self._throttle.warn(
                    peer,
                    f"connections to {peer} freeze after some {least / 1000:.0f} kB, as firewalls of some countries "
                    'let them: with transport = "tcpmux", "wsmux" or "wssmux" on both ends users go on',
                )


def _in_vain(sock: socket.socket) -> TcpInfo:
    """Return the figures of a connection that sends a full segment in vain; those of all others are zeros.

    Small segments do not count: a peer without memory for them drops them, and a smaller ``mss`` would not help.
    """
    try:
        info = TcpInfo.of(sock)
        full = info.in_vain and info.mss > _NARROW and unacknowledged(sock) >= info.mss
    except OSError:  # it is no connection, or closed
        return TcpInfo()
    return info if full else TcpInfo()


def _has_frozen(info: TcpInfo) -> bool:
    return 0 < _LARGE * info.arrived_in < info.arrived <= freezing.MOST


def _ways(sock: socket.socket) -> tuple[Any, ...]:
    """Return what all connections of two ends have in common on the client, the server's address, and on the server."""
    try:
        here, there = sock.getsockname(), sock.getpeername()
    except OSError:  # it is closed
        return ()
    return there, (here, there[0])
