"""The sending half of a link: bytes leave at once, or wait until the connection takes them."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from backhaul.errors import reason
from backhaul.net.poller import WOULD_BLOCK
from backhaul.relay.backlog import Backlog
from backhaul.relay.channel import SHARED
from backhaul.relay.frames import Frames
from backhaul.relay.turns import Turns

from .pacing import Pace
from .stall import StallDetector

if TYPE_CHECKING:
    from .resources import SenderResources


class SenderOwner(Protocol):
    """The link that a sender belongs to."""

    closed: bool

    @property
    def owner(self) -> Hashable:
        """The transport that the session belongs to."""

    def drained(self) -> None:
        """Continue, because everything has left and the connection accepts bytes again."""

    def end(self, why: str) -> None:
        """End the session."""

    def lost(self, why: str) -> None:
        """Act on the loss of the connection, which is broken."""

    def fail(self, error: Exception) -> None:
        """Close the connection because of an unexpected exception."""


class Outlet(ABC):
    """A way out for streams, which wait for their turn while it is blocked."""

    __slots__ = ("_owner", "blocked", "frames", "pace", "turns")

    pace: Pace

    def __init__(self, owner: SenderOwner, frames: Frames = SHARED) -> None:
        self._owner = owner
        self.frames = frames
        """The memory in which streams build their frames."""
        self.blocked = False
        """True while streams have to wait."""
        self.turns = Turns()
        """The streams that wait to send."""

    @property
    @abstractmethod
    def unsent(self) -> int:
        """The number of bytes that wait until the connection takes them."""

    @abstractmethod
    def transmit(self, data: memoryview | bytes) -> None:
        """Send ``data``, or keep what the connection does not take now."""

    @abstractmethod
    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None:
        """Send these bytes of ``memory``; those before them may be overwritten with a header."""

    @abstractmethod
    def transmit_clear(self, data: bytes) -> None:
        """Send bytes that belong to no record."""

    @abstractmethod
    def close(self) -> None:
        """Drop everything."""

    def serve_turns(self) -> None:
        """Let the waiting streams send in turn, until they have to wait again."""
        for _ in range(len(self.turns)):
            if self.blocked or self._owner.closed:
                return
            self.turns.take().unpark()


class Sender(Outlet):
    """Writes to a connection. While that takes no bytes, they wait in a backlog and streams wait for their turn."""

    __slots__ = ("_backlog", "_conn", "_poller", "_relay", "_stall")

    def __init__(self, owner: SenderOwner, relay: "SenderResources", conn: socket.socket, stall: StallDetector) -> None:
        super().__init__(owner)
        self._conn = conn
        self._relay = relay
        self._poller = relay.poller
        self._stall = stall
        self._backlog = Backlog(relay.budget, self)
        self.pace = Pace(conn)

    @property
    def unsent(self) -> int:
        """The number of bytes that wait until the connection takes them."""
        return self._backlog.size

    def transmit(self, data: memoryview | bytes) -> None:
        """Send ``data``, or keep what the connection does not take now."""
        try:
            if self.blocked:
                self._backlog.add(data)
                return
            try:
                sent = self._conn.send(data)
            except WOULD_BLOCK:
                sent = 0
            if sent < len(data):
                self.pace.blocks()
                self._block()
                self._backlog.add(data[sent:])
            elif self.pace.slow and not self.pace.keeps_up(sent):
                self._block()
        except OSError as error:
            self._owner.lost(reason(error))
        except Exception as error:  # noqa: BLE001 - the peer may lack some of the bytes, whatever the caller does
            self._owner.fail(error)

    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None:
        """Send these bytes of ``memory``."""
        self.transmit(memory[start:end])

    def transmit_clear(self, data: bytes) -> None:
        """Send bytes as they are: there are no records."""
        self.transmit(data)

    @property
    def owner(self) -> Hashable:
        """The transport that the session belongs to."""
        return self._owner.owner

    def over_budget(self) -> None:
        """End the session, whose peer does not read."""
        self._owner.end("its peer does not read, and memory is short")

    def close(self) -> None:
        """Drop the backlog."""
        self._backlog.drop()

    def _block(self) -> None:
        self.blocked = True
        self._stall.sending_waits()
        self._poller.on_writable(self._conn, self._writable)

    def _writable(self) -> None:
        try:
            if self._backlog.size and not self._backlog.send(self._conn):
                return
        except OSError as error:
            self._owner.lost(reason(error))
            return
        if self._backlog.size:
            self._stall.sending_waits()  # a new start, because some bytes have left
            return
        self.blocked = False
        self.pace.goes_on(self._relay.patience.soon)
        self._poller.ignore_writable(self._conn)
        self._stall.sending_goes_on()
        self._owner.drained()
