"""The acknowledgements of a session that outlives its connections."""

from typing import TYPE_CHECKING, Any, Protocol

from backhaul.relay.resources import Timekeeper
from backhaul.wire.smux.frames import ACK, pack_frame

from .resume import Ledger

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from backhaul.wire.smux import Session

    from .spooled_sender import SpooledSender


class Acknowledging(Protocol):
    """The link that acknowledgements belong to."""

    milestone: float
    """The received bytes of the session at which ``settle`` is to be called, after a read."""

    @property
    def session(self) -> "Session[Any]":
        """The session."""

    @property
    def sender(self) -> "SpooledSender":
        """The sender of acknowledgements."""

    @property
    def received(self) -> int:
        """The bytes that have arrived and had their effect."""

    @property
    def reading_stopped(self) -> bool:
        """True while the connection is not read, because the session has no room."""


class Acknowledgements:
    """Acknowledges many received bytes at once, and few soon.

    While nothing is read it repeats the last one now and then, so that the other end does not take the connection for
    dead.
    """

    __slots__ = ("_due", "_late", "_link", "_relay", "_sign", "_version", "ledger")

    def __init__(self, relay: Timekeeper, version: int, link: Acknowledging) -> None:
        self._relay = relay
        self._version = version
        self._link = link
        self._due = False
        self._late: TimerHandle | None = None
        self._sign: TimerHandle | None = None
        self.ledger = Ledger()
        """The bytes that were acknowledged."""

    def requested(self) -> None:
        """Acknowledge after this read. A request while one waits has no effect. Raises SmuxError at too many."""
        if self._due:
            self._link.session.note_vain()
        self._due = True
        self._link.milestone = 0

    def settle(self) -> None:
        """Acknowledge many bytes now, and few soon."""
        received = self._link.received
        if self._due or received >= self.ledger.due:
            self._send()
        elif self._late is None and self.ledger.pending(received):
            self._late = self._relay.loop.call_later(self._relay.patience.acknowledge, self._send_late)
        self._link.milestone = self.ledger.due if self._late else self._link.session.received + 1

    def reading_stops(self) -> None:
        """Repeat the last acknowledgement while nothing is read."""
        if not self._sign:
            self._sign = self._relay.loop.call_later(self._relay.patience.sign, self._give_sign)

    def close(self) -> None:
        """Acknowledge nothing more."""
        for timer in (self._late, self._sign):
            if timer:
                timer.cancel()

    def _send_late(self) -> None:
        self._late = None
        if self.ledger.pending(self._link.received):
            self._send()
        self._link.milestone = 0

    def _send(self) -> None:
        """Acknowledge now, or before the streams send again: on a full line they leave no other moment."""
        self._due = not self._link.sender.clear
        if not self._due:
            count = self.ledger.report(self._link.received)
            self._link.sender.transmit_unnumbered(pack_frame(self._version, ACK, count))

    def _give_sign(self) -> None:
        self._sign = None
        if self._link.reading_stopped:
            self._send()
            self.reading_stops()
