"""When a client should take the silence of its server for the end, without a clock of its own.

The server's heartbeat interval is not told to the client, so it is learned; until then v0.7.2's default counts. A
server that can be asked is asked before it is given up, and an answer is as good as a heartbeat. Where it can't be
asked, only the kernel can tell that it is gone, and does so within a minute; a silent program may be just idle.
"""

DEFAULT_HEARTBEAT = 40.0  # seconds
_PATIENCE = 1.4  # heartbeats: one may be late; 1.4 * 40 s stays under a minute
_DOUBT = 0.8  # of that patience: after it the server is asked, and has the rest of it to answer
_LEAST = 20.0  # seconds: a busy machine may be slow to speak
_LEAST_UNASKED = 300.0  # seconds: an administrator may have set any heartbeat


class Liveness:
    """Measures how long the server has said nothing."""

    def __init__(self) -> None:
        self._expected = DEFAULT_HEARTBEAT
        self._learned = 0.0
        self._last = 0.0  # when the server said something
        self._asked = False  # whether it lives, since then
        self._last_beat = 0.0
        self._beats = 0

    def limit(self, *, can_ask: bool) -> float:
        """Return the seconds of silence that mean that the server is gone; *can_ask*: whether it would answer."""
        return max(_LEAST if can_ask else _LEAST_UNASKED, _PATIENCE * (self._learned or self._expected))

    def begin(self, now: float) -> None:
        """A control channel was opened."""
        self.heard(now)
        self._beats = 0

    def heard(self, now: float) -> None:
        """The server has said something: it lives."""
        self._last = now
        self._asked = False

    def beat(self, now: float) -> None:
        """What it has said is a heartbeat."""
        self._beats += 1
        if self._beats > 1:
            self._learned = max(self._learned, now - self._last_beat)
        self._last_beat = now
        self.heard(now)

    def doubtful(self, now: float) -> bool:
        """Return whether to ask for a sign of life: once in a silence, when a heartbeat seems late."""
        if self._asked or now - self._last <= _DOUBT * self.limit(can_ask=True):
            return False
        self._asked = True
        return True

    def lasts_too_long(self, now: float, *, can_ask: bool) -> bool:
        """Return whether to give up; a server never heard gets twice the time on the next channel."""
        limit = self.limit(can_ask=can_ask)
        if now - self._last <= limit:
            return False
        if not self._beats and not self._learned:
            self._expected = 2 * limit / _PATIENCE
        return True
