"""Datagrams in a byte stream: their frames, and an estimate of their delay.

Towards the client a datagram is ``u16 length | payload``, towards the server ``u32 timestamp | u16 length | payload``;
the timestamp is the sender's Unix time in milliseconds modulo 600 000. All other transports frame without a timestamp
in both directions.
"""

from collections.abc import Sequence
from struct import Struct

MAX_PAYLOAD = 65507  # bytes in UDP over IPv4: 65535 less 20 of IPv4 and 8 of UDP
CLOCK_CYCLE = 600_000  # milliseconds: timestamps start again at 0

_PLAIN = Struct("!H")
_STAMPED = Struct("!IH")

Batch = Sequence[bytes | memoryview]
"""Datagrams in their order. A function that gets a batch must not use it after it has returned."""


def join(batch: Batch) -> bytes:
    """Frame the datagrams of ``batch`` (at most 65535 bytes each) for one write."""
    pack = _PLAIN.pack
    if len(batch) == 1:  # as in games and calls
        return pack(len(batch[0])) + batch[0]
    return b"".join([part for datagram in batch for part in (pack(len(datagram)), datagram)])


def framed_size(batch: Batch) -> int:
    """Return how many bytes ``join`` makes of the datagrams of ``batch``."""
    return sum(map(len, batch)) + _PLAIN.size * len(batch)


def put(batch: Batch, buffer: memoryview, offset: int) -> None:
    """Frame as ``join`` does, into ``buffer`` from ``offset`` on, which has room for ``framed_size`` bytes."""
    for datagram in batch:
        size = len(datagram)
        _PLAIN.pack_into(buffer, offset, size)
        offset += _PLAIN.size
        buffer[offset : offset + size] = datagram
        offset += size


def join_stamped(batch: Batch, timestamp: int) -> bytes:
    """Frame as ``join`` does, each datagram after ``timestamp`` (milliseconds, any clock)."""
    pack, cycle = _STAMPED.pack, timestamp % CLOCK_CYCLE
    if len(batch) == 1:
        return pack(cycle, len(batch[0])) + batch[0]
    return b"".join([part for datagram in batch for part in (pack(cycle, len(datagram)), datagram)])


class Splitter:
    """Splits a stream into datagrams, however its bytes are cut."""

    __slots__ = ("_head", "tail", "timestamp")

    def __init__(self, *, stamped: bool) -> None:
        self._head = _STAMPED if stamped else _PLAIN
        self.tail = bytearray()
        """The beginning of a frame whose end has not arrived yet."""
        self.timestamp = 0  # of the first datagram that the last `feed` returned; meaningless unless stamped

    def feed(self, data: memoryview) -> list[bytes | memoryview]:
        """Return the datagrams that are complete; those that lie in ``data`` as a whole are views into it."""
        found: list[bytes | memoryview] = []
        start = self._finish_tail(data, found) if self.tail else 0
        unpack, size, end = self._head.unpack_from, self._head.size, len(data)
        while (body := start + size) <= end:
            head = unpack(data, start)
            after = body + head[-1]
            if after > end:
                break
            if not found:
                self.timestamp = head[0]
            found.append(data[body:after])
            start = after
        if start < end:
            self.tail += data[start:]
        return found

    def _finish_tail(self, data: memoryview, found: list[bytes | memoryview]) -> int:
        """Complete the frame in the tail; return how many bytes of ``data`` that took."""
        size = self._head.size
        used = max(0, size - len(self.tail))
        self.tail += data[:used]
        if len(self.tail) < size:
            return len(data)
        head = self._head.unpack_from(self.tail)
        whole: int = size + head[-1]
        missing = whole - len(self.tail)
        self.tail += data[used : used + missing]
        if len(self.tail) == whole:
            self.timestamp = head[0]
            found.append(bytes(self.tail[size:]))
            self.tail.clear()
        return min(used + missing, len(data))


_HALF = CLOCK_CYCLE // 2
_WINDOW = 60_000  # milliseconds for which the quickest datagram counts, so a clock that is set misleads no longer
_LEAST_LIMIT = 100  # milliseconds
_ROUND_TRIPS = 3  # to v0.7.2 a delay of more than three round trips means congestion


class DelayEstimator:
    """Estimates whether datagrams queue up on their way, from timestamps of a clock that may be wrong.

    The time between a timestamp and the arrival is the delay plus the unknown difference of the two clocks. That
    difference is the same for all datagrams, so each is compared with the quickest of the last minute or two, and only
    the excess counts. All arithmetic is modulo the cycle of the timestamps.
    """

    __slots__ = ("_limit", "_quickest", "_recent", "_since")

    def __init__(self, round_trip: int) -> None:
        """``round_trip`` is in milliseconds, 0 if unknown."""
        self._limit = max(_ROUND_TRIPS * round_trip, _LEAST_LIMIT)
        self._quickest: int | None = None  # smallest difference of the last window and this one
        self._recent = 0  # smallest difference of this window
        self._since = 0

    def late(self, timestamp: int, now: int) -> bool:
        """Judge a datagram by its ``timestamp`` and its arrival at ``now``, in milliseconds of this end's clock."""
        difference = (now - timestamp) % CLOCK_CYCLE
        if self._quickest is None:
            self._quickest, self._recent, self._since = difference, difference, now
        elif now - self._since >= _WINDOW:
            self._quickest, self._recent, self._since = self._recent, difference, now
        excess = (difference - self._quickest) % CLOCK_CYCLE
        if excess <= self._limit and (difference - self._recent) % CLOCK_CYCLE < _HALF:
            return False  # most datagrams: neither late, nor quicker than those before
        self._recent = _quicker(self._recent, difference)
        self._quickest = _quicker(self._quickest, difference)
        return _excess(difference, self._quickest) > self._limit


def _excess(difference: int, base: int) -> int:
    """Return how much larger ``difference`` is than ``base``, the shorter way round the cycle."""
    return (difference - base + _HALF) % CLOCK_CYCLE - _HALF


def _quicker(one: int, other: int) -> int:
    return other if _excess(other, one) < 0 else one
