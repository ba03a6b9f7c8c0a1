"""Failed attempts by network, which bound the rate of guesses at secrets."""

import functools
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST: Final = 4096  # networks remembered; the one with the oldest last failure is replaced
_MAPPED: Final = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_PREFIX: Final = 8  # bytes of an IPv6 address: a subscriber has a /64 at least (RFC 6177), so addresses cost nothing


@functools.lru_cache(maxsize=1024)
def network_of(ip: str) -> str:
    """Return the network that limits count: an IPv4 address, also a mapped one, or the /64 of an IPv6 address."""
    if ":" not in ip:
        return ip
    packed = socket.inet_pton(socket.AF_INET6, ip.partition("%")[0])
    if packed.startswith(_MAPPED):
        return socket.inet_ntoa(packed[len(_MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, packed[:_PREFIX].ljust(len(packed), b"\0")) + "/64"


@dataclass(slots=True)
class _Record:
    """Failures of a network since ``since``, and the resulting pause."""

    since: float
    next_pause: float
    count: int = 0
    paused_until: float = 0.0


class Failures:
    """Counts failures, and makes a network pause for longer and longer.

    The first ``free`` failures within ``window`` seconds have no consequence. Each further one causes a pause of
    ``first`` seconds, doubled each time up to ``longest``. The window starts again at the end of a pause. ``clock``
    returns monotonic seconds.
    """

    def __init__(
        self,
        free: int,
        window: float,
        first: float,
        longest: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        most: int = _MOST,
    ) -> None:
        self._free = free
        self._window = window
        self._first = first
        self._longest = longest
        self._clock = clock
        self._most = most
        self._records: OrderedDict[str, _Record] = OrderedDict()  # the longest without a failure first

    def pause(self, network: str) -> float:
        """Return the remaining seconds of the pause of ``network``; 0 if it has none."""
        record = self._records.get(network)
        return max(0.0, record.paused_until - self._clock()) if record else 0.0

    def failed(self, network: str) -> float:
        """Count a failure of ``network``; return the seconds of the resulting pause."""
        now = self._clock()
        record = self._recall(network, now)
        record.count += 1
        if record.count <= self._free:
            return 0.0
        seconds = record.next_pause
        record.paused_until = record.since = now + seconds
        record.next_pause = min(2 * seconds, self._longest)
        return seconds

    def _recall(self, network: str, now: float) -> _Record:
        record = self._records.pop(network, None)
        if record is None or now - record.since > self._window:
            record = _Record(now, self._first)
        self._records[network] = record
        if len(self._records) > self._most:
            self._records.popitem(last=False)
        return record
