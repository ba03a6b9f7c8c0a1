"""The bytes of a session that outlives its connections, without input or output.

Each end numbers the bytes of a session that it sends, from 0, and keeps them until the other end has acknowledged them.
When a connection is lost both ends tell each other how many bytes they have received, and the next connection begins
with the rest. Acknowledgements are not numbered, and not kept.
"""

from itertools import accumulate, chain, takewhile
from typing import Final, TypeAlias

from backhaul.relay.frames import KEPT_SIZE, KeptFrames
from backhaul.wire.smux import SmuxError

ACK_EVERY: Final = 2 << 20
"""Received bytes after which an acknowledgement is due: one for each 64 KiB would cost 25 % of the CPU time in bulk."""
REPLAY_PIECE: Final = 1 << 16
"""Bytes of a replay that are sent at once, or the next larger piece as it was sent before."""
_LOW: Final = 0xFFFF_FFFF
_MOST_JOINED: Final = 1 << 16  # bytes of small pieces that become a large one
_OBJECT_SIZE: Final = 64  # bytes of memory that each piece takes beyond its own, rounded up

Piece: TypeAlias = bytes | bytearray | memoryview


class ResumeError(SmuxError):
    """The other end counts bytes that were never sent, or are no longer kept: the session can't go on."""


class Spool:
    """Bytes that were sent and not acknowledged yet.

    Large pieces stay where they are, in memory that is given back later. Small ones are joined. The pieces are in
    lists, because an empty deque takes 600 bytes, and most spools are empty.
    """

    __slots__ = ("_cut", "_frames", "_lent", "_memory", "_sent", "_tail", "_unsent", "acknowledged", "size")

    def __init__(self, frames: KeptFrames) -> None:
        self.acknowledged = 0
        """The number of bytes that the other end has acknowledged."""
        self.size = 0
        """The number of bytes that it has not."""
        self._frames = frames
        self._lent: list[memoryview] = []  # the memory of large pieces, in their order
        self._memory = 0  # bytes that whole pieces take
        self._sent: list[Piece] = []
        self._tail = bytearray()  # sent after those
        self._unsent: list[Piece] = []  # not sent yet on the present connection
        self._cut = 0  # bytes of the first piece that are acknowledged

    @property
    def memory(self) -> int:
        """Bytes of memory that the spool takes."""
        return self._memory + len(self._tail)

    @property
    def replaying(self) -> bool:
        """True while bytes wait to be sent on the present connection."""
        return bool(self._unsent)

    def append(self, data: bytes | memoryview) -> None:
        """Keep a copy of few bytes, which are sent now; nothing may wait to be replayed."""
        self._tail += data
        self.size += len(data)
        if len(self._tail) > _MOST_JOINED:
            self._roll()

    def keep(self, piece: memoryview) -> None:
        """Keep many bytes, which are sent now, with the present memory of the frames. Raises OSError without more."""
        self._lent.append(self._frames.keep())
        if self._tail:
            self._roll()
        self._sent.append(piece)
        self.size += len(piece)
        self._memory += KEPT_SIZE

    def hold(self, piece: bytes) -> None:
        """Keep a piece that is sent after the replay."""
        self._unsent.append(piece)
        self.size += len(piece)
        self._memory += len(piece) + _OBJECT_SIZE

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
        left = self._drop(left + self._cut)
        self._cut = left if self._sent else self._cut_tail(left)
        self.size -= offset - self.acknowledged
        self.acknowledged = offset

    def rewind(self, received: int) -> None:
        """Prepare for another connection, to an end that has received that many bytes. Raises ResumeError.

        They may have arrived on any connection before, although the last one was lost during the replay.
        """
        self._gather()
        self.acknowledge(received)
        self._unsent, self._sent = self._sent, self._unsent

    def take(self) -> bytes:
        """Return the next bytes of the replay, about ``REPLAY_PIECE`` or none; they count as sent from now on."""
        sizes = accumulate(map(len, self._unsent))
        count = max(1, len([*takewhile(REPLAY_PIECE.__ge__, sizes)]))
        pieces = self._unsent[:count]
        del self._unsent[:count]
        skipped = 0 if self._sent else self._cut
        self._sent.extend(pieces)
        return b"".join(pieces)[skipped:]

    def clear(self) -> None:
        """Drop everything, because the session is over."""
        self._gather()
        self._drop(self.size + self._cut)
        self.size = self._cut = 0

    def _gather(self) -> None:
        """Count everything as sent."""
        self._roll()
        self._sent.extend(self._unsent)
        self._unsent.clear()

    def _roll(self) -> None:
        """Make a piece of the small ones."""
        if self._tail:
            self._sent.append(self._tail)
            self._memory += len(self._tail) + _OBJECT_SIZE
            self._tail = bytearray()

    def _cut_tail(self, count: int) -> int:
        """Drop bytes from the front of the small pieces, and return 0: none of them are left. Raises ResumeError."""
        if count > len(self._tail):
            raise ResumeError(f"the other end acknowledges {count - len(self._tail)} bytes more than it was sent")
        del self._tail[:count]
        return 0

    def _drop(self, left: int) -> int:
        """Drop as many whole pieces as ``left`` bytes contain; return how many bytes are left."""
        gone = 0
        for piece in self._sent:
            if len(piece) > left:
                break
            left -= len(piece)
            gone += 1
        pieces = self._sent[:gone]
        del self._sent[:gone]
        self._give_back(pieces)
        return left

    def _give_back(self, pieces: list[Piece]) -> None:
        own = [len(piece) + _OBJECT_SIZE for piece in pieces if not isinstance(piece, memoryview)]
        lent = len(pieces) - len(own)
        self._memory -= KEPT_SIZE * lent + sum(own)
        self._frames.give_back(self._lent[:lent])
        del self._lent[:lent]

    def __bytes__(self) -> bytes:
        """Return all bytes that are not acknowledged, for tests and debugging."""
        return b"".join(chain(self._sent, [self._tail], self._unsent))[self._cut :]


class Ledger:
    """The bytes received that were acknowledged, and those that the other end repeats although they have arrived.

    More may have arrived on the old connection after this end has told how many it had.
    """

    __slots__ = ("repeated", "reported")

    def __init__(self) -> None:
        self.reported = 0
        """The number of bytes that were acknowledged."""
        self.repeated = 0
        """The number of bytes to come that have arrived before."""

    @property
    def due(self) -> int:
        """The number of bytes received at which an acknowledgement is due."""
        return self.reported + self.repeated + ACK_EVERY

    def pending(self, received: int) -> bool:
        """Return whether any of the bytes received can be acknowledged, and have not been."""
        return received - self.repeated > self.reported

    def skip(self, data: memoryview) -> memoryview:
        """Return those of the bytes that have not arrived before."""
        count = min(len(data), self.repeated)
        self.repeated -= count
        return data[count:]

    def report(self, received: int) -> int:
        """Return the low 32 bits of the number of bytes that this end acknowledges now.

        Those that the other end will repeat are not among them: it has not sent them on this connection yet.
        """
        self.reported = received - self.repeated
        return self.reported & _LOW

    def rewind(self, received: int, start: int) -> None:
        """Prepare for another connection, on which the other end begins with byte ``start``. Raises ResumeError."""
        if start > received:
            raise ResumeError(f"the other end leaves out {start - received} bytes")
        self.repeated = received - start
        self.reported = start
