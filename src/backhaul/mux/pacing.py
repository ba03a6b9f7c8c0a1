"""The pace of a link: how much each stream may send at once, so that others do not wait long.

A connection does not keep up if it takes long to send what it was given. There a small frame of another stream waits
for all bytes that the kernel has not sent yet. So a stream sends small pieces, each when less than half of a piece is
unsent. That keeps the wait below one frame of the default size, 32 KiB. The kernel alone would accept up to 64 KiB
more before it blocks.
"""

import select
import socket
import time
from typing import Final

from backhaul.net.options import offer_tcp

NOTSENT_LOWAT: Final = 1 << 13
"""Unsent bytes below which the kernel accepts more; it reports a socket as writable below half of that."""
_PIECE: Final = 28 << 10  # bytes of payload that a stream sends per wake-up on a slow connection
# Bytes that must leave at once, in a row, before a connection counts as fast again: half a megabyte, because few
# windows open by more.
_FLOWING: Final = 16 * _PIECE
# Bytes of payload per wake-up on a fast connection, where fewer system calls count for more. With the headers of four
# frames and of a WebSocket message they fill at most eight records of TLS.
_BURST: Final = (1 << 17) - 128


class Pace:
    """The bytes that a stream sends per wake-up: few after the connection was blocked for long.

    They are many again after many bytes in a row have left at once.
    """

    __slots__ = ("_blocked_at", "_flowing", "_kernel", "burst", "slow")

    def __init__(self, conn: socket.socket) -> None:
        self.burst = _BURST
        """Bytes of payload that a stream may send per wake-up."""
        self.slow = False
        """True if the connection has not kept up lately; the sender asks ``keeps_up`` after each write then."""
        self._flowing = 0  # bytes that have left at once since the connection blocked
        self._blocked_at = 0.0  # time.monotonic(), because the event loop's own clock does not advance within a turn
        self._kernel = select.poll()
        self._kernel.register(conn, select.POLLOUT)

    def blocks(self) -> None:
        """Note that the connection takes no more bytes now."""
        self._flowing, self._blocked_at = 0, time.monotonic()

    def goes_on(self, soon: float) -> None:
        """Note that the connection has taken all bytes; send small pieces if that took more than ``soon`` seconds."""
        if not self.slow and time.monotonic() - self._blocked_at > soon:
            self.burst, self.slow = _PIECE, True

    def keeps_up(self, sent: int) -> bool:
        """Return whether the last ``sent`` bytes have left already; after enough such bytes in a row, speed up."""
        if not self._kernel.poll(0):
            self._flowing = 0
            return False
        self._flowing += sent
        if self._flowing >= _FLOWING:
            self.burst, self.slow = _BURST, False
        return True


def avoid_waiting(conn: socket.socket) -> None:
    """Set up a connection whose frames are joined and paced here, whatever ``nodelay`` is.

    Nagle's algorithm would hold the first request of a stream until the peer's delayed acknowledgement (measured:
    43 ms instead of 0.3), and in version 2 the end of each window (2 MB/s instead of 300).
    """
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    offer_tcp(conn, "TCP_NOTSENT_LOWAT", NOTSENT_LOWAT)
