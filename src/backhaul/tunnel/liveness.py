"""The client's limit for the silence of its server, without a clock of its own.

The client learns the server's heartbeat interval; until then it assumes v0.7.2's default. A server that can be asked
is asked before it is given up, and an answer is as good as a heartbeat. Otherwise only the kernel notices that it has
vanished, within a minute, and a silent program may just be idle.

It also learns how long answers take, because a slow line, or one that loses much, needs more patience.
"""

import math

from .timings import DEFAULT_TIMINGS, Timings

DEFAULT_HEARTBEAT = 40.0  # seconds
_FADES = 0.8  # share of the slowest answer that counts at the next one
_SLOWEST = 5.0  # seconds that an answer may count for: it may have waited for the end of an outage
_PATIENT = 2  # times the slowest answer


class Liveness:
    """Measures the silence of the server."""

    def __init__(self, timings: Timings = DEFAULT_TIMINGS) -> None:
        self._timings = timings
        self._expected = DEFAULT_HEARTBEAT
        self._learned = 0.0
        self._last = 0.0  # time of the server's last message
        self._asked = False  # for a sign of life, since then
        self._suspected = math.inf  # time of the first suspicion since then
        self._slowest = 0.0  # seconds until an answer, of the last few
        self._last_beat = 0.0
        self._beats = 0

    def limit(self, *, can_ask: bool) -> float:
        """Return the seconds of silence after which the server is given up; ``can_ask`` if it would answer a probe."""
        timings = self._timings
        least = timings.silence if can_ask else timings.silence_unasked
        return max(least, timings.beats * (self._learned or self._expected))

    def begin(self, now: float) -> None:
        """Start measuring for a new control channel."""
        self.alive(now)
        self._beats = 0

    def alive(self, now: float) -> None:
        """Note a message of the server."""
        if self.suspicious:
            self._slowest = max(_FADES * self._slowest, min(now - self._suspected, _SLOWEST))
        self._last = now
        self._asked = False
        self._suspected = math.inf

    def beat(self, now: float) -> None:
        """Note a heartbeat of the server."""
        self._beats += 1
        if self._beats > 1:
            self._learned = max(self._learned, now - self._last_beat)
        self._last_beat = now
        self.alive(now)

    def doubtful(self, now: float) -> bool:
        """Return whether to ask for a sign of life: once per silence, if a heartbeat seems late."""
        if self._asked or now - self._last <= self._timings.doubt * self.limit(can_ask=True):
            return False
        self._asked = True
        return True

    def suspect(self, now: float) -> bool:
        """Return whether to ask for a sign of life, once per silence, because the line may be dead."""
        if self.suspicious:
            return False
        self._suspected = now
        return True

    @property
    def suspicious(self) -> bool:
        """True if the server was asked because the line may be dead, and has not answered."""
        return self._suspected < math.inf

    @property
    def patience(self) -> float:
        """Seconds for the answer of a server whose line may be dead."""
        return max(self._timings.suspicion, _PATIENT * self._slowest)

    def silent_for(self, now: float) -> float:
        """Return the seconds since the last message of the server."""
        return now - self._last

    def lasts_too_long(self, now: float, *, can_ask: bool) -> bool:
        """Return whether to give up; a server that never sent gets twice the time on the next channel."""
        limit = self.limit(can_ask=can_ask)
        if now - self._last <= limit:
            return False
        if not self._beats and not self._learned:
            self._expected = 2 * limit / self._timings.beats
        return True
