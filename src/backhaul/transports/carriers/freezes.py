"""The number of bytes after which connections freeze, as some firewalls let them.

Russia's do so since 2025 with connections to foreign hosters: after 15 to 20 kB from the server nothing more passes
(https://github.com/net4people/bbs/issues/490). A session gets another connection whenever its present one is silent,
but that takes seconds for each of these pieces. Once the number is known, connections are replaced ahead of it.
"""

import math
from collections import deque
from typing import Final

from backhaul.net.log_throttle import LogThrottle

_LEAST: Final = 1 << 12  # bytes in one direction: with fewer, each connection would carry little but its handshakes
_MOST: Final = 1 << 16  # larger numbers are rather those of a line that is down now and then
_ALIKE: Final = 3  # connections in a row that have frozen after a similar number of bytes
_SIMILAR: Final = 1.5  # the largest of these numbers, in relation to the smallest
_PART: Final = 0.75  # of the smallest of them, at which a connection is replaced
_TRIALS: Final = (1 << 5, 1 << 10)  # replaced connections until twice the number is tried, at first and at most


class Freezes:
    """Learns how many bytes connections carry until they freeze, and whether they still do."""

    def __init__(self, complaints: LogThrottle) -> None:
        self.limit = 0.0
        """Bytes in one direction at which a connection should be replaced; 0 if none is known to freeze."""
        self._complaints = complaints
        self._last: deque[int] = deque(maxlen=_ALIKE)
        self._latest = -math.inf  # the time of the last of them
        self._replaced = 0  # connections, since the limit has changed
        self._trial = _TRIALS[0]

    def froze(self, carried: int, begun: float, now: float) -> bool:
        """Note a connection that became silent after so many bytes; return whether a freeze is likely.

        One that had ``begun`` before another one became silent is no evidence: an outage stops all at once.
        """
        if not _LEAST <= carried <= _MOST:
            return False
        if self.limit:
            self._correct(carried)
        elif begun > self._latest:
            self._latest = now
            self._compare(carried)
        return True

    def replaced(self) -> None:
        """Note a connection that has reached the limit; now and then, try whether others carry more."""
        self._replaced += 1
        if self._replaced >= self._trial:
            self._set(2 * self.limit)

    def _compare(self, carried: int) -> None:
        self._last.append(carried)
        least = min(self._last)
        if len(self._last) == _ALIKE and max(self._last) <= _SIMILAR * least:
            self._set(_PART * least)
            self._complaints.warn(
                "freezes",
                f"tunnel connections freeze after some {least / 1000:.0f} kB, as firewalls of some countries let them; "
                "each is replaced before that, which is slow: another address, port or transport may do better",
            )

    def _correct(self, carried: int) -> None:
        """Go back to a lower limit, because a trial with more has failed."""
        if carried < self.limit:
            self._set(_PART * carried)
            self._trial = min(2 * self._trial, _TRIALS[1])

    def _set(self, limit: float) -> None:
        self._last.clear()
        self._replaced = 0
        self.limit = max(limit, _LEAST) if limit <= _MOST else 0.0
