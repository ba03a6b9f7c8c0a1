"""Keepalive as in the Go library: a NOP at each beat of one clock, a check for silence at each beat of a slower one."""


class Keepalive:
    """Two clocks that run independently of the traffic.

    ``interval`` and ``timeout`` are seconds; ``now`` is the time on the caller's monotonic clock, here and below. The
    silence of a peer is detected between one and two timeouts after its last frame header.
    """

    __slots__ = ("_interval", "_next_check", "_next_nop", "_timeout", "received")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self.restart(now)

    def restart(self, now: float) -> None:
        """Restart both clocks."""
        self.received = False
        """True if a frame header has arrived since the last check; set by the session."""
        self._next_nop = now + self._interval
        self._next_check = now + self._timeout

    @property
    def deadline(self) -> float:
        """The time of the next beat of either clock."""
        return min(self._next_nop, self._next_check)

    def nop_due(self, now: float, share: float = 1.0) -> bool:
        """Return whether a NOP is due; only one is sent for several missed beats.

        The next one follows after ``share`` of the interval, in (0, 1].
        """
        if now < self._next_nop:
            return False
        self._next_nop = _following_beat(self._next_nop, share * self._interval, now)
        return True

    def is_dead(self, now: float, *, reading: bool) -> bool:
        """Return whether the peer counts as dead.

        While this end does not read the transport (``reading`` is false), silence proves nothing.
        """
        if now < self._next_check:
            return False
        self._next_check = _following_beat(self._next_check, self._timeout, now)
        received, self.received = self.received, False
        return reading and not received


def _following_beat(beat: float, period: float, now: float) -> float:
    """Return the first moment after ``now`` that lies a whole number of periods after ``beat``."""
    return beat + period * ((now - beat) // period + 1)
