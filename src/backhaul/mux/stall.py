"""The detection of stalled sessions, on which nothing moves because an end does not read or the line is down."""

import math
import socket
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Final

from backhaul.net.predicates import retransmissions
from backhaul.wire.peer import Peer

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from .resources import StallResources

_UNANSWERED: Final = 2  # transmissions in a row that the peer's kernel has not acknowledged: they take 0.6 s at least
_ASK_EVERY: Final = 0.1  # seconds between questions to the kernel about that: one for each user would cost 0.5 %
_WARN_AFTER: Final = 5.0  # seconds for which a session is not read before that is worth a line in the log
_MOVING: Final = math.inf  # the stop time of a direction that has not stopped


class StallDetector:
    """Detects that a session has stalled, when a new user needs one, and that it moves again.

    The link and its sender report when reading and sending stop and go on. ``Patience`` limits how long they may stop.
    """

    __slots__ = (
        "_alarm",
        "_asked_at",
        "_changed",
        "_conn",
        "_peer",
        "_relay",
        "_streams",
        "_unread_since",
        "_unsent_since",
        "stalled",
    )

    def __init__(
        self, relay: "StallResources", conn: socket.socket, peer: Peer, streams: Sized, changed: Callable[[], None]
    ) -> None:
        """Watch a session; call ``changed`` whenever ``stalled`` has changed."""
        self.stalled = False
        """True if the session was found stalled and has not moved since."""
        self._relay = relay
        self._conn = conn
        self._peer = peer
        self._streams = streams
        self._changed = changed
        self._unread_since = _MOVING
        self._unsent_since = _MOVING
        self._asked_at = 0.0  # the time of the last question to the kernel
        self._alarm: TimerHandle | None = None  # set when reading stops for the first time

    def detect(self) -> bool:
        """Return whether the session has stalled: True once for each stall."""
        if self.stalled:
            return False
        now = self._relay.loop.time()
        if self._unread_since < _MOVING or self._unsent_since < _MOVING:
            stalled = self._stopped_too_long(now)
        else:
            stalled = now - self._asked_at >= _ASK_EVERY and self._unanswered(now)
        if stalled:
            self._set(stalled=True)
        return stalled

    def moves(self) -> None:
        """Note that bytes have arrived, which end the stall unless a direction has stopped."""
        if self.stalled and self._unread_since == self._unsent_since == _MOVING:
            self._set(stalled=False)

    def reading_stops(self) -> None:
        """Note that the connection is not read from now on."""
        self._unread_since = self._relay.loop.time()
        self._alarm = self._relay.loop.call_later(_WARN_AFTER, self._warn)

    def reading_goes_on(self) -> None:
        """Note that the connection is read again."""
        self._unread_since = _MOVING
        self.close()
        self.moves()

    def sending_waits(self) -> None:
        """Note that bytes wait from now on for the connection to take them."""
        self._unsent_since = self._relay.loop.time()

    def sending_goes_on(self) -> None:
        """Note that all bytes have left."""
        self._unsent_since = _MOVING
        if self.stalled:
            self.moves()

    def close(self) -> None:
        """Cancel the warning."""
        if self._alarm:
            self._alarm.cancel()

    def _stopped_too_long(self, now: float) -> bool:
        patience = self._relay.patience
        return now - self._unread_since > patience.unread or now - self._unsent_since > patience.unsent

    def _unanswered(self, now: float) -> bool:
        self._asked_at = now
        return retransmissions(self._conn) >= _UNANSWERED

    def _set(self, *, stalled: bool) -> None:
        self.stalled = stalled
        self._changed()

    def _warn(self) -> None:
        """Log that some streams hold up all others: in version 1 a single one can, in version 2 several."""
        self._relay.complaints.warn(
            ("stalled", str(self._peer)),
            f"session with {len(self._streams)} streams, peer {self._peer}: "
            "stalled, because some are not read and mux_recievebuffer is full; "
            "raise it, or set mux_version = 2 on both ends if one is v0.7.2",
        )
