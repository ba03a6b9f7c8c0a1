"""The bytes that a socket does not take."""

import socket
from collections.abc import Hashable, Iterable

from backhaul.net.poller import WOULD_BLOCK

from .budget import Budget, Holder


class Backlog:
    """Bytes that wait until a socket takes them, and count in the budget of all relays.

    The holder may be reset, and drop the backlog, before ``add`` or ``send`` returns.
    """

    __slots__ = ("_budget", "_bytes", "_holder", "_part", "size")

    def __init__(self, budget: Budget, holder: Holder, part: Hashable = "") -> None:
        """``part`` is the port or target for whose users the bytes wait, if that is known."""
        self._budget = budget
        self._holder = holder
        self._part = part
        self._bytes = bytearray()
        self.size = 0
        """The number of bytes."""

    def add(self, data: memoryview | bytes) -> None:
        """Keep a copy of ``data``."""
        self.add_rest((data,), 0)

    def add_rest(self, pieces: Iterable[memoryview | bytes], sent: int) -> None:
        """Keep a copy of ``pieces`` without their first ``sent`` bytes."""
        for piece in pieces:
            if sent < len(piece):
                self._bytes += memoryview(piece)[sent:]
            sent = max(0, sent - len(piece))
        self.size = len(self._bytes)
        self._budget.hold(self._holder, self.size, self._part)

    def send(self, sock: socket.socket) -> int:
        """Send to ``sock``; return how many bytes it has taken, 0 if it takes none now. Raises OSError."""
        return self._send(sock, self._bytes)

    def send_some(self, sock: socket.socket, most: int) -> int:
        """Send ``most`` bytes, as ``send`` does."""
        return self._send(sock, self._bytes if self.size <= most else self._bytes[:most])

    def _send(self, sock: socket.socket, data: bytearray) -> int:
        try:
            sent = sock.send(data)
        except WOULD_BLOCK:
            return 0
        del self._bytes[:sent]
        self.size -= sent
        self._budget.hold(self._holder, self.size, self._part)
        return sent

    def drop(self) -> None:
        """Count the bytes no longer, because their holder has ended."""
        self._budget.hold(self._holder, 0)
