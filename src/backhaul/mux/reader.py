"""The receiving half of a link: the bytes of the connection feed the session, and consumers get their payload."""

import math
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from backhaul.errors import reason
from backhaul.net.buffers import shared_buffer
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.portion import FIRST, LEAST, MOST, handle
from backhaul.net.predicates import acknowledge
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.smux import HEADER_SIZE, Session, SmuxError

from .altered import MISMATCHED, remedy_for
from .owner import LinkOwner
from .stall import StallDetector
from .transient import Transient

if TYPE_CHECKING:
    from collections.abc import Callable

    from backhaul.relay.channel import Consumer

    from .resources import LinkResources
    from .sink import TunnelSink

_HANDSHAKE_TYPE: Final = b"\x01"  # third byte of a handshake; in a NOP, all that may precede streams, it is 0

_IN = shared_buffer(MOST)  # shared: every read is handled before the next


class Reader(Transient, ABC):
    """Reads the connection of a link.

    It is no object of its own, because a read takes one path through it and the session, and would take another call.
    """

    __slots__ = (
        "_fresh",
        "_parse",
        "_paused",
        "_portion",
        "_relay",
        "_whole_frames",
        "closed",
        "conn",
        "feeding",
        "milestone",
        "owner",
        "peer",
        "proved",
        "proven",
        "session",
        "stall",
        "touched",
    )

    def __init__(
        self,
        relay: "LinkResources",
        conn: socket.socket,
        session: "Session[TunnelSink]",
        stall: StallDetector,
        owner: LinkOwner,
        *,
        peer: Peer,
        proven: bool,
        fresh: bool,
    ) -> None:
        self._relay = relay
        self.conn = conn
        self.session = session
        self.stall = stall
        self.owner = owner
        """The transport that decides about its streams."""
        self.peer = peer
        """The other end."""
        self.proven = proven
        """True if the connection is known to lead to the client; otherwise the answer of a target proves it."""
        self.proved = False
        """True once the other end has sent frames of a session."""
        self.closed = False
        self.feeding = False
        """True while bytes are parsed; no stream may be written then."""
        self.touched: list[Consumer] = []
        """Consumers with payload that still lies in the shared buffer."""
        self._whole_frames = peer.supports(Feature.WHOLE_FRAMES)
        self._fresh = fresh  # its first bytes may be a handshake of v0.7.2
        self._portion = FIRST
        self._paused = False  # the connection is not read, because the session has no room
        self._parse: Callable[[memoryview], None] = session.feed
        self.milestone: float = math.inf
        """The received bytes of the session at which ``passed`` is called, after a read; most sessions have none."""

    load: int

    @abstractmethod
    def __len__(self) -> int:
        """Return how many streams are not closed by both sides."""

    @abstractmethod
    def settle(self) -> None:
        """Act on consumed bytes."""

    @abstractmethod
    def tell_load(self) -> None:
        """Tell the owner if the number of streams has changed."""

    @abstractmethod
    def tell_owner(self) -> None:
        """Tell the owner that new users may use the session, or should avoid it."""

    @abstractmethod
    def lost(self, why: str) -> None:
        """Act on the loss of the connection."""

    @abstractmethod
    def end(self, why: str) -> None:
        """Close the connection, and lose the streams on it."""

    @abstractmethod
    def _hand_back(self, data: bytes) -> None:
        """Give the connection back to the owner, because its first bytes, ``data``, begin a handshake."""

    def passed(self) -> None:
        """Act on the milestone, which is then cleared."""
        self.milestone = math.inf

    def _turn_reading(self) -> None:
        """Stop or resume reading the connection."""
        self._paused = not self._paused
        if self._paused:
            self._relay.poller.ignore_readable(self.conn)
            self.stall.reading_stops()
        else:
            self._relay.poller.on_readable(self.conn, self._readable)
            self.stall.reading_goes_on()

    def _readable(self) -> None:
        try:
            count = self.conn.recv_into(_IN, self._portion)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self.lost(reason(error))
            return
        if not count:
            self.lost("the peer closed it")
            return
        if not self._whole_frames:
            acknowledge(self.conn)
        if self.stall.stalled:
            self.stall.moves()
        if count < LEAST:
            self._take(_IN[:count])
        else:
            self._portion = handle(_IN[:count], self._portion, self._take)

    def _take(self, data: memoryview) -> None:
        if self._fresh and self._begins_handshake(data):
            self._hand_back(bytes(data))
            return
        error = self._feed(data)
        if self.touched:
            self._deliver()
        if error:
            self._reject(error)
            return
        if not self.proved and len(data) >= HEADER_SIZE:
            self.proved = True
            self.owner.fit.proved()
        self.settle()
        if len(self.session.streams) != self.load:
            self.tell_load()
        if self.session.received >= self.milestone:
            self.passed()

    def _begins_handshake(self, data: memoryview) -> bool:
        """Return whether the first bytes begin a handshake: no frame begins with 0, nor with data before any stream."""
        self._fresh = False
        return data[0] == 0 or (not len(self) and data[2:3].tobytes() == _HANDSHAKE_TYPE)

    def _feed(self, data: memoryview) -> SmuxError | None:
        """Parse bytes; return the mistake in them."""
        self.feeding = True
        try:
            self._parse(data)
        except SmuxError as error:
            return error
        finally:
            self.feeding = False
        return None

    def _deliver(self) -> None:
        """Let consumers write their payload in the shared buffer, whose arrival proves the connection."""
        touched, self.touched = self.touched, []
        if not self.proven:
            self.proven = True
            self.tell_owner()
        for consumer in touched:
            consumer.deliver()

    def _reject(self, error: SmuxError) -> None:
        """Close the session because the peer has sent invalid bytes, or they were altered on the way."""
        remedy = remedy_for(error, self.peer)
        if remedy == MISMATCHED and not self.proved:
            self.owner.fit.mismatched(f"{error}; {remedy}")
        key = self.peer.name, type(error), remedy  # without its text, of which a peer chooses a part
        self._relay.complaints.warn(key, f"closed a session: {error}; {remedy}")
        self.end(str(error))
