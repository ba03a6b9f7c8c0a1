"""The arithmetic of flow control, alone: how much may be sent, when to report, when to stop reading.

Counters on the wire have 32 bits and wrap; a difference of two of them is read as a signed number, which
is right as long as less than 2^31 bytes are in flight.
"""

from collections.abc import Callable
from typing import Final

INITIAL_WINDOW: Final = 262144
"""What a version 2 sender may have in flight before the first UPD, whatever either end has configured."""

UNLIMITED: Final = 1 << 30
"""What a version 1 sender may send at any time: more than any buffer holds."""

_MAX_WINDOW: Final = (1 << 31) - 1
"""A larger one is negative for the Go library."""

_QUICK: Final = 2.0
"""Seconds in which a window's worth is taken if a larger one would help: more than any usual round trip."""

_LOSS: Final = 1 / 8
"""Part of that time in which nothing came, above which a larger one would help."""

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

    def stretch(self) -> int:
        """Return as much of `space` as there is up to the next half of a window since the last UPD.

        The Go library reports at the first end of a frame beyond that. Frames that end right there have it report
        twice in a window, and the peer always has the whole of it; others once, and the peer has half (measured at
        200 ms: 2.6 and 1.6 Mbit/s).
        """
        space, half = self.space(), self._window // 2
        if not space or not half:
            return space
        return min(space, half - signed32(self._sent - self._consumed) % half)

    def sent(self, count: int) -> None:
        """Count *count* payload bytes as sent."""
        self._sent += count  # wraps where it is compared

    def update(self, consumed: int, window: int) -> None:
        """Take over the two numbers of a UPD."""
        self._consumed = consumed
        self._window = window


class Growth:
    """Bytes by which the windows of a session, all together, may exceed those that its streams begin with.

    A window keeps what it has borrowed until its stream ends. Therefore it gets no more than three times what is left
    for others then: the first one three quarters of the bytes at most, the second three quarters of the rest.
    """

    __slots__ = ("clock", "left", "size")

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.left = size
        self.clock = clock

    def lend(self, count: int, held: int) -> int:
        """Take *count* bytes, or fewer, for a window that holds *held* already; return how many.

        Fewer are as odd or even as *count*.
        """
        most = min(count, (3 * self.left - held) // 4)
        lent = max(0, most - (count - most) % 2)
        self.left -= lent
        return lent

    def give_back(self, count: int) -> None:
        """Put back *count* bytes that were lent."""
        self.left += count


_NO_GROWTH: Final = Growth(0, lambda: 0.0)


class _Limit:
    """A byte up to which the peer was told that it may send."""

    __slots__ = ("announced", "end", "reached")

    def __init__(self, end: int, now: float) -> None:
        self.end = end
        self.announced = now
        self.reached = now  # when all bytes up to it had been taken, none being left behind it

    def throttled(self, now: float) -> bool:
        """Return whether the peer, of which more has come *now*, has lost time here for want of a larger window."""
        idle, elapsed = now - self.reached, now - self.announced
        return self.reached > self.announced and elapsed < _QUICK and idle > _LOSS * elapsed


class ReceiveWindow:
    """The window of a version 2 receiver, and when it owes its peer a UPD.

    The window doubles when it throttles a peer whose bytes are taken as fast as they come. That shows without a
    measurement of the round trip, which the kernel knows no further than to the next proxy: a sender that runs into
    a limit stops at exactly that byte, and nothing comes until it has heard of another one. A sender that is limited
    by anything else may stop there by chance. Hence a grown window is an odd number of bytes, of which the usual sizes
    of messages are no divisors.
    """

    __slots__ = ("_due", "_growth", "_limits", "_start", "_total", "_unreported", "size")

    def __init__(self, size: int, growth: Growth) -> None:
        self.size = size
        """What each UPD names as the window."""
        self._start = size
        self._growth = growth
        self._due = size // 2  # unreported bytes for which a UPD leaves; half a window is the Go library's rule
        self._total = 0
        self._unreported = 0
        self._limits: list[_Limit] = []  # those that have not been passed yet, four of a window

    def take(self, count: int, unread: int) -> bool:
        """Count *count* > 0 bytes as taken by the application, *unread* being left; return whether a UPD is due.

        It is due at the first bytes of a stream, too: without that early one a peer would never leave its
        `INITIAL_WINDOW` when half of ours is larger.
        """
        first = not self._total
        self._add(count)
        if first:
            return self._begin()
        if self._limits and self._total >= self._limits[0].end:
            self._reach(unread, self._growth.clock())
        return self._unreported >= self._due

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
        if self._growth.size:
            self._limits.append(_Limit(self._total + self.size, self._growth.clock()))
        return self._total & _MASK

    def shrink(self) -> None:
        """Give back what the window has grown by, for good: nothing more is to come, or to be taken."""
        self._growth.give_back(self.size - self._start)
        self._growth = _NO_GROWTH
        self._limits.clear()
        self.size = self._start
        self._due = self.size // 2

    def _add(self, count: int) -> None:
        self._total += count
        self._unreported += count

    def _begin(self) -> bool:
        """Leave the peer the window that it begins with, as long as the session has plenty; a UPD is due."""
        if 2 * self._growth.left > self._growth.size:
            self._grow(max(0, INITIAL_WINDOW - self.size) + 1)
        return True

    def _reach(self, unread: int, now: float) -> None:
        limits = self._limits
        if self._total > limits[0].end and limits[0].throttled(now):
            self._grow(self.size - 1)
        while limits and limits[0].end < self._total:
            del limits[0]
        if limits and limits[0].end == self._total and not unread:
            limits[0].reached = now

    def _grow(self, count: int) -> None:
        if grown := self._growth.lend(min(count, _MAX_WINDOW - self.size), self.size - self._start):
            self.size += grown
            self._due = self.size // 4  # early enough that the sender need not stop
            self._unreported = max(self._unreported, self._due)  # this is due at once
            self._limits.clear()  # those on the way to the peer are of the smaller window


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
