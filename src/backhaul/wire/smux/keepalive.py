"""Keepalive by the rule of the Go library: NOPs on a fixed beat, silence found at a second, slower one."""


class Keepalive:
    """Two clocks that run independently of the traffic.

    *interval* and *timeout* are seconds; *now* is the time on the caller's monotonic clock, here and below.
    A peer that falls silent is found between one and two timeouts after its last frame header.
    """

    __slots__ = ("_interval", "_next_check", "_next_nop", "_timeout", "heard")

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._next_nop = now + interval
        self._next_check = now + timeout
        self.heard = False
        """Whether a frame header has arrived since the last check; set by the session."""

    @property
    def deadline(self) -> float:
        """When there will be something to do."""
        return min(self._next_nop, self._next_check)

    def nop_due(self, now: float) -> bool:
        """Return whether a NOP is to be sent now; beats that were slept through are not made up for."""
        if now < self._next_nop:
            return False
        self._next_nop = _following_beat(self._next_nop, self._interval, now)
        return True

    def is_dead(self, now: float, *, reading: bool) -> bool:
        """Return whether the peer counts as dead.

        While this end does not read the transport (*reading* is false) the silence is its own doing.
        """
        if now < self._next_check:
            return False
        self._next_check = _following_beat(self._next_check, self._timeout, now)
        heard, self.heard = self.heard, False
        return reading and not heard


def _following_beat(beat: float, period: float, now: float) -> float:
    """Return the first moment after *now* that lies a whole number of periods after *beat*."""
    return beat + period * ((now - beat) // period + 1)
