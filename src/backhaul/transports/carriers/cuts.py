"""Idle connections that end after the same silence again and again, because something in between allows no more."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .resources import CutsResources

_RECENT: Final = 8
_ENOUGH: Final = 3  # of the recent ones; connections that were pinged meanwhile end later
_SAME: Final = 0.05  # the share by which equal silences may differ: proxies and NATs look now and then
_LEAST_DIFFERENCE: Final = 0.5  # seconds, for the shortest ones


class Cuts:
    """The silences after which idle connections of one session have ended.

    Connections that end together count as one: they may belong to a client that has stopped.
    """

    def __init__(self, relay: "CutsResources", now: Callable[[], float]) -> None:
        """``now`` returns seconds of a clock that never goes back."""
        self._relay = relay
        self._now = now
        self._silences: deque[float] = deque(maxlen=_RECENT)
        self._last = 0.0

    def forget(self) -> None:
        """Begin anew, with another session."""
        self._silences.clear()

    def ended(self, silence: float) -> None:
        """Note that the other end, or something in between, has closed a connection after seconds of silence."""
        now = self._now()
        together = self._silences and now - self._last < silence / 2
        if together or silence < self._relay.patience.cut:
            return
        self._last = now
        self._silences.append(silence)
        same = [other for other in self._silences if abs(other - silence) <= max(_LEAST_DIFFERENCE, _SAME * silence)]
        if len(same) == _ENOUGH:
            self._warn(min(same))

    def _warn(self, silence: float) -> None:
        self._relay.complaints.warn(
            "cut",
            f"tunnel connections are closed from outside after {silence:.0f} s of silence, and so are users who are "
            "silent for as long: a proxy, load balancer or NAT in between allows no more; raise its time-out, or set "
            f"keepalive_period = {max(1, int(silence / 2))} on both ends",
        )
