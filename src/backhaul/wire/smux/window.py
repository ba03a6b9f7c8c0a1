"""The arithmetic of flow control, alone: how much may be sent, when to report, when to stop reading.

Counters on the wire have 32 bits and wrap; a difference of two of them is read as a signed number, which
is right as long as less than 2^31 bytes are in flight.
"""

from typing import Final

INITIAL_WINDOW: Final = 262144
"""What a version 2 sender may have in flight before the first UPD, whatever either end has configured."""

UNLIMITED: Final = 1 << 30
"""What a version 1 sender may send at any time: more than any buffer holds."""

_MASK: Final = 0xFFFF_FFFF
_SIGN: Final = 0x8000_0000


def signed32(value: int) -> int:
    """Return the low 32 bits of *value*, read as a two's complement number."""
    return ((value + _SIGN) & _MASK) - _SIGN


class SendWindow:
    """How much of one stream a version 2 sender may send.

    The peer's numbers are believed as they come, stale or absurd, just as the Go library believes them: a
    wrong one can only hold back what the peer itself is to get, and the next right one heals it.
    """

    __slots__ = ("_consumed", "_sent", "_window")

    def __init__(self) -> None:
        self._sent = 0
        self._consumed = 0
        self._window = INITIAL_WINDOW

    def space(self) -> int:
        """Return the payload bytes that may be sent now, never less than 0.

        The window may shrink below what is in flight (the first UPD usually does that); a peer that claims to
        have consumed what was never sent, or a window of 2^31 or more, stops the sender until a later UPD.
        """
        in_flight = signed32(self._sent - self._consumed)
        return max(0, signed32(self._window) - in_flight) if in_flight >= 0 else 0

    def sent(self, count: int) -> None:
        """Count *count* payload bytes as sent."""
        self._sent += count  # wraps where it is compared

    def update(self, consumed: int, window: int) -> None:
        """Take over the two numbers of a UPD."""
        self._consumed = consumed
        self._window = window


class ReceiveWindow:
    """When a version 2 receiver owes its peer a UPD.

    *size* is the window that every UPD names, in bytes: the constant `stream_buffer` of this end.
    """

    __slots__ = ("_total", "_unreported", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        """What each UPD names as the window."""
        self._total = 0
        self._unreported = 0

    def take(self, count: int) -> bool:
        """Count *count* > 0 bytes as taken by the application; return whether a UPD is due.

        It is due at half a window, and at the first bytes of a stream: without that early one a peer would
        never leave its `INITIAL_WINDOW` when half of ours is larger.
        """
        self._add(count)
        return self._unreported >= self.size // 2 or self._total == count

    def discard(self, count: int) -> bool:
        """Count *count* bytes as thrown away unread; return whether a UPD is due.

        There is no UPD for the first bytes here (the Go library sends none for unread data); so that a peer
        still within its `INITIAL_WINDOW` cannot get stuck, half of that is enough.
        """
        self._add(count)
        return self._unreported >= min(self.size, INITIAL_WINDOW) // 2

    def report(self) -> int:
        """Return the "consumed" of the UPD that is sent now: all bytes so far, modulo 2^32."""
        self._unreported = 0
        return self._total

    def _add(self, count: int) -> None:
        self._total = (self._total + count) & _MASK
        self._unreported += count


class Budget:
    """How many unread bytes a session may hold, over all its streams.

    It is the only flow control of version 1. The peer cannot see it: when it is used up, the transport is not
    read, and the peer's writes block. It is overdrawn by what one read of the transport brought.
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def exhausted(self) -> bool:
        """Whether reading has to stop. One free byte is enough to go on."""
        return self.left <= 0

    def charge(self, count: int) -> None:
        """Count *count* bytes that arrived."""
        self.left -= count

    def release(self, count: int) -> None:
        """Count *count* bytes that left the session's memory."""
        self.left += count
