"""The bytes of a session that outlives its connections, without input or output.

Each end numbers the bytes of a session that it sends, from 0, and keeps them until the other end has acknowledged them.
When a connection is lost both ends tell each other how many bytes they have received, and the next connection begins
with the rest. Acknowledgements are not numbered, and not kept.
"""

from collections import deque
from itertools import chain
from typing import Final

from backhaul.wire.smux import SmuxError

ACK_EVERY: Final = 1 << 20
"""Received bytes after which an acknowledgement is due: one for each 64 KiB would cost 25 % of the CPU time in bulk."""
REPLAY_PIECE: Final = 1 << 16
"""Bytes of a replay that are sent at once, or the next larger piece as it was sent before."""
_LOW: Final = 0xFFFF_FFFF
_OBJECT_SIZE: Final = 64  # bytes of memory that each piece takes beyond its own, rounded up


class ResumeError(SmuxError):
    """The other end counts bytes that were never sent, or are no longer kept: the session can't go on."""


class Spool:
    """Bytes that were sent and not acknowledged yet."""

    __slots__ = ("_cut", "_sent", "_unsent", "acknowledged", "memory", "size")

    def __init__(self) -> None:
        self.acknowledged = 0
        """The number of bytes that the other end has acknowledged."""
        self.size = 0
        """The number of bytes that it has not."""
        self.memory = 0
        """Bytes of memory that the spool takes."""
        self._sent: deque[bytes] = deque()
        self._unsent: deque[bytes] = deque()  # not sent yet on the present connection
        self._cut = 0  # bytes of the first piece that are acknowledged

    @property
    def replaying(self) -> bool:
        """True while bytes wait to be sent on the present connection."""
        return bool(self._unsent)

    def put(self, piece: bytes, *, sent: bool) -> None:
        """Keep a piece, which follows everything before it; ``sent`` is true if it is sent now."""
        (self._sent if sent else self._unsent).append(piece)
        self.size += len(piece)
        self.memory += len(piece) + _OBJECT_SIZE

    def acknowledge_low(self, low: int) -> None:
        """Drop the bytes before an offset of which the low 32 bits are known. Raises ResumeError."""
        self.acknowledge(self.acknowledged + (low - self.acknowledged & _LOW))

    def acknowledge(self, offset: int) -> None:
        """Drop the bytes before ``offset``; does nothing if they are gone already. Raises ResumeError.

        At most the bytes that were sent on the present connection can be acknowledged.
        """
        left = offset - self.acknowledged
        if left <= 0:
            return
        left += self._cut
        sent = self._sent
        while sent and len(sent[0]) <= left:
            left -= self._drop(sent.popleft())
        if left and not sent:
            raise ResumeError(f"the other end acknowledges {left} bytes more than it was sent")
        self._cut = left
        self.size -= offset - self.acknowledged
        self.acknowledged = offset

    def rewind(self, received: int) -> None:
        """Prepare for another connection, to an end that has received that many bytes. Raises ResumeError."""
        self.acknowledge(received)
        self._sent.extend(self._unsent)
        self._unsent.clear()
        self._unsent, self._sent = self._sent, self._unsent

    def take(self) -> bytes:
        """Return the next bytes of the replay, about ``REPLAY_PIECE``; they count as sent from now on.

        Raises IndexError if there are none.
        """
        pieces = [self._unsent.popleft()]
        size = len(pieces[0])
        while self._unsent and size + len(self._unsent[0]) <= REPLAY_PIECE:
            pieces.append(self._unsent.popleft())
            size += len(pieces[-1])
        skipped = 0 if self._sent else self._cut
        self._sent.extend(pieces)
        return b"".join(pieces)[skipped:]

    def clear(self) -> None:
        """Drop everything, because the session is over."""
        for pieces in (self._sent, self._unsent):
            while pieces:
                self._drop(pieces.popleft())
        self.size = self._cut = 0

    def _drop(self, piece: bytes) -> int:
        size = len(piece)
        self.memory -= size + _OBJECT_SIZE
        return size

    def __bytes__(self) -> bytes:
        """Return all bytes that are not acknowledged, for tests and debugging."""
        return b"".join(chain(self._sent, self._unsent))[self._cut :]


class Ledger:
    """The number of bytes received, and when to acknowledge them."""

    __slots__ = ("_duplicates", "_reported", "received")

    def __init__(self) -> None:
        self.received = 0
        """The number of bytes received, each counted once."""
        self._reported = 0
        self._duplicates = 0  # bytes that a replay begins with although they were received

    @property
    def pending(self) -> bool:
        """True if any received byte has not been acknowledged."""
        return self.received > self._reported

    @property
    def due(self) -> bool:
        """True if so many have not been acknowledged that it should not wait."""
        return self.received - self._reported >= ACK_EVERY

    def take(self, data: memoryview) -> memoryview:
        """Count bytes that have arrived; return those that have not arrived before."""
        if self._duplicates:
            count = min(len(data), self._duplicates)
            self._duplicates -= count
            data = data[count:]
        self.received += len(data)
        return data

    def leave_out(self, count: int) -> None:
        """Take back the last ``count`` bytes: they belong to an acknowledgement, or will be replayed."""
        self.received -= count

    def report(self, cut: int) -> int:
        """Return the low 32 bits of the bytes received except the last ``cut``, which this end acknowledges now."""
        self._reported = self.received - cut
        return self._reported & _LOW

    def rewind(self, start: int) -> None:
        """Prepare for another connection, on which the other end begins with byte ``start``. Raises ResumeError."""
        if start > self.received:
            raise ResumeError(f"the other end leaves out {start - self.received} bytes")
        self._duplicates = self.received - start
        self._reported = start
