"""The arithmetic of flow control: how much may be sent, when to report, when to stop reading.

Counters on the wire have 32 bits and wrap. The difference of two of them is read as a signed number, which is right as
long as fewer than 2^31 bytes are in flight.
"""

from collections.abc import Callable
from typing import Final

INITIAL_WINDOW: Final = 262144
"""Bytes that a version 2 sender may have in flight before the first UPD, whatever either end has configured."""

KNOWN_WINDOW: Final = INITIAL_WINDOW + 1
"""Bytes of a receiver's window that each sender knows, but for the byte that makes it odd: see ``ReceiveWindow``."""

UNLIMITED: Final = 1 << 30
"""Bytes that a version 1 sender may send at any time: more than any buffer holds."""

_MAX_WINDOW: Final = (1 << 31) - 1
"""Bytes; the Go library reads a larger window as a negative number."""

_QUICK: Final = 2.0
"""Seconds within which a window is used up if a larger one would help: more than any usual round trip."""

_LOSS: Final = 1 / 8
"""Part of that time without arrivals, above which a larger window would help."""

_MASK: Final = 0xFFFF_FFFF
_SIGN: Final = 0x8000_0000


def signed32(value: int) -> int:
    """Return the low 32 bits of ``value``, read as a two's complement number."""
    return ((value + _SIGN) & _MASK) - _SIGN


class SendWindow:
    """The limit on the bytes that a version 2 sender may send on one stream.

    The peer's numbers are used as they are, stale or absurd, as in the Go library. A wrong number only holds back bytes
    that the peer itself would get, and the next right one corrects it.
    """

    __slots__ = ("_consumed", "_sent", "_window", "space")

    def __init__(self) -> None:
        self._sent = 0
        self._consumed = 0
        self._window = INITIAL_WINDOW
        self.space = INITIAL_WINDOW
        """The payload bytes that may be sent now, never less than 0; an attribute because each read of a user needs it.

        The window may shrink below the bytes in flight (the first UPD usually does that). A peer that claims to have
        consumed bytes that were never sent, or a window of 2^31 or more, stops the sender until a later UPD.
        """

    def stretch(self) -> int:
        """Return the part of ``space`` up to the next half of a window since the last UPD.

        The Go library reports at the first end of a frame beyond that. With frames that end right there it reports
        twice in a window, so this end always has all of the window; with others once, so this end has half of it
        (measured at a round trip of 200 ms: 2.6 and 1.6 Mbit/s).
        """
        space, half = self.space, self._window // 2
        if not space or not half:
            return space
        return min(space, half - signed32(self._sent - self._consumed) % half)

    def sent(self, count: int) -> None:
        """Count ``count`` payload bytes as sent, at most ``space``."""
        self._sent += count  # wraps where it is compared
        self.space -= count

    def update(self, consumed: int, window: int) -> bool:
        """Note the two numbers of a UPD; return whether it reports more bytes than the last, which were sent."""
        advance = signed32(consumed - self._consumed)
        self._consumed = consumed
        self._window = window
        in_flight = signed32(self._sent - consumed)
        self.space = max(0, signed32(window) - in_flight) if in_flight >= 0 else 0
        return advance > 0 and in_flight >= 0


class Growth:
    """The bytes by which all windows of a session together may exceed those that its streams begin with.

    A window keeps the bytes it has borrowed until its stream ends. Therefore it gets no more than three times the bytes
    that remain for others: the first window three quarters at most, the second three quarters of the rest.
    """

    __slots__ = ("clock", "left", "size")

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self.left = size
        self.clock = clock

    def lend(self, count: int, held: int) -> int:
        """Take up to ``count`` bytes for a window that holds ``held`` already; return how many.

        The number is odd if ``count`` is odd, and even if it is even; it may be 0 in either case.
        """
        most = min(count, (3 * self.left - held) // 4)
        lent = max(0, most - (count - most) % 2)
        self.left -= lent
        return lent

    def give_back(self, count: int) -> None:
        """Put back ``count`` bytes that were lent."""
        self.left += count


_NO_GROWTH: Final = Growth(0, lambda: 0.0)


class _Limit:
    """A byte up to which the peer may send, as announced by a UPD."""

    __slots__ = ("announced", "end", "reached")

    def __init__(self, end: int, now: float) -> None:
        self.end = end
        self.announced = now
        self.reached = now  # when all bytes up to it had been taken, and no further ones had arrived

    def throttled(self, now: float) -> bool:
        """Return whether the peer, whose next bytes arrive ``now``, lost time here for lack of a larger window."""
        idle, elapsed = now - self.reached, now - self.announced
        return self.reached > self.announced and elapsed < _QUICK and idle > _LOSS * elapsed


class ReceiveWindow:
    """The window of a version 2 receiver, with the decision when a UPD is due.

    The window doubles when it throttles a peer whose bytes are taken as fast as they arrive. That shows without a
    measurement of the round trip, which the kernel measures only as far as the next proxy: a sender that runs into a
    limit stops at exactly that byte, and nothing arrives until it has received the next limit. A sender that is limited
    by anything else may stop there by chance. Therefore a grown window is an odd number of bytes, of which the usual
    sizes of messages are no divisors.
    """

    __slots__ = ("_due", "_growth", "_limits", "_start", "_total", "_unreported", "size")

    def __init__(self, size: int, growth: Growth) -> None:
        self.size = size
        """The window that each UPD announces."""
        self._start = size
        self._growth = growth
        self._due = size // 2  # unreported bytes at which a UPD is due; half a window is the Go library's rule
        self._total = 0
        self._unreported = 0
        self._limits: list[_Limit] | tuple[()] = ()  # those that have not been passed yet, four for each window

    def take(self, count: int, unread: int) -> bool:
        """Count ``count`` > 0 bytes as taken by the application, with ``unread`` left; return whether a UPD is due.

        One is due at the first bytes of a stream, too, unless it has a ``KNOWN_WINDOW``. Without it a peer would stop
        at the end of its ``INITIAL_WINDOW`` if half of this window is larger.
        """
        first = not self._total
        self._total += count
        self._unreported += count
        if first:
            return self._begin()
        if self._limits and self._total >= self._limits[0].end:
            self._reach(self._limits, unread, self._growth.clock())
        return self._unreported >= self._due

    def discard(self, count: int) -> bool:
        """Count ``count`` bytes as discarded unread; return whether a UPD is due.

        None is due at the first bytes, as in the Go library. One is due at half of ``INITIAL_WINDOW`` at the latest, so
        a peer that is still within it can't get stuck.
        """
        self._total += count
        self._unreported += count
        return self._unreported >= min(self.size, INITIAL_WINDOW) // 2

    def report(self) -> int:
        """Return the bytes consumed so far, modulo 2^32, for the UPD that is sent now."""
        self._unreported = 0
        if self._growth.size:
            self._announce(_Limit(self._total + self.size, self._growth.clock()))
        return self._total & _MASK

    def shrink(self) -> None:
        """Give back the growth for good, because nothing more will arrive or be taken."""
        self._growth.give_back(self.size - self._start)
        self._growth = _NO_GROWTH
        self._limits = ()
        self.size = self._start
        self._due = self.size // 2

    def _begin(self) -> bool:
        """Leave the peer its initial window as long as the session has plenty to lend; return whether a UPD is due."""
        if self.size == KNOWN_WINDOW:
            return False
        if 2 * self._growth.left > self._growth.size:
            self._grow(max(0, INITIAL_WINDOW - self.size) + 1)
        return True

    def _announce(self, limit: _Limit) -> None:
        if self._limits:
            self._limits.append(limit)
        else:
            self._limits = [limit]  # an idle stream has no list

    def _reach(self, limits: list[_Limit], unread: int, now: float) -> None:
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
            self._unreported = max(self._unreported, self._due)  # the larger window is announced at once
            self._limits = ()  # they belong to the smaller window
