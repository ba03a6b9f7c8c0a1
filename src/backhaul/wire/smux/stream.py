"""One stream of a session: its states, its flow control, and the sink its payload goes to."""

from __future__ import annotations

from enum import IntEnum, auto
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from .frames import FIN, HEADER, HEADER_SIZE, PSH, pack_frame, pack_update
from .window import UNLIMITED, ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from .errors import SmuxError
    from .session import Session


class State(IntEnum):
    """Who may still push; the names are those of TCP and HTTP/2."""

    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()  # our FIN is out
    HALF_CLOSED_REMOTE = auto()  # the peer's FIN is in
    CLOSED = auto()  # both; the session has forgotten the id
    LOST = auto()  # the session died first


class Event(IntEnum):
    """What moves a stream from state to state."""

    SEND_FIN = auto()
    RECEIVE_FIN = auto()
    LOSE = auto()


TRANSITIONS: Final = {
    (State.OPEN, Event.SEND_FIN): State.HALF_CLOSED_LOCAL,
    (State.OPEN, Event.RECEIVE_FIN): State.HALF_CLOSED_REMOTE,
    (State.OPEN, Event.LOSE): State.LOST,
    (State.HALF_CLOSED_LOCAL, Event.RECEIVE_FIN): State.CLOSED,
    (State.HALF_CLOSED_LOCAL, Event.LOSE): State.LOST,
    (State.HALF_CLOSED_REMOTE, Event.SEND_FIN): State.CLOSED,
    (State.HALF_CLOSED_REMOTE, Event.LOSE): State.LOST,
}
"""A pair that is missing changes nothing: a second FIN of either side is ignored."""

_MAY_PUSH: Final = frozenset({State.OPEN, State.HALF_CLOSED_REMOTE})
_OVER: Final = frozenset({State.CLOSED, State.LOST})


class Sink(Protocol):
    """Where a stream delivers; the caller's object. No method may raise, and none may feed the session."""

    def on_data(self, view: memoryview) -> int:
        """Take payload; return how many of its bytes have been consumed for good, from the front.

        The view is valid during the call only: the sink copies the rest that it keeps, and reports it with
        `Stream.consumed` when it is gone. Late bytes may come after `on_fin`, because the Go library lets a
        FIN overtake data of a stream that is being torn down.
        """

    def on_fin(self) -> None:
        """Learn that the peer has finished. Called once, also after `Stream.abandon`."""

    def on_window(self) -> None:
        """Learn that `Stream.sendable` has risen from 0."""

    def on_lost(self, reason: SmuxError) -> None:
        """Learn that the session died before both sides had finished. Nothing is called after this."""


S = TypeVar("S", bound=Sink)
"""The sinks of a session's streams; a caller whose own signals need more than a `Sink` says so here."""


class Stream(Generic[S]):
    """A two-way byte stream within a session.

    Made by `Session.open`, or by the session for a SYN of the peer. Whoever gets it assigns `sink` at once.
    Bytes that arrived and that the sink has not consumed are charged to the session until `consumed` or
    `abandon` is called, even when the stream is closed by then.
    """

    __slots__ = ("_received", "_sent", "_session", "_unread", "abandoned", "id", "sink", "state")

    sink: S
    """Where payload and events go."""

    def __init__(self, session: Session[S], stream_id: int) -> None:
        self._session = session
        self._unread = 0
        windowed = session.settings.version != 1
        self._sent = SendWindow() if windowed else None
        self._received = ReceiveWindow(session.settings.stream_buffer, session.growth) if windowed else None
        self.id = stream_id
        self.state = State.OPEN
        self.abandoned = False
        """Whether the read side was dropped."""

    def sendable(self) -> int:
        """Return the payload bytes that may be pushed now: 0 when blocked, finished or lost.

        On version 1, which has no window, it is `UNLIMITED`. A positive number is to be used, however small:
        a sender that waits for room for a whole frame may wait for ever.
        """
        if self.state not in _MAY_PUSH:
            return 0
        return UNLIMITED if self._sent is None else self._sent.space()

    def stretch(self) -> int:
        """Return as much of `sendable` as should be pushed before anything more to a peer of the Go library."""
        if self.state not in _MAY_PUSH:
            return 0
        return UNLIMITED if self._sent is None else self._sent.stretch()

    def put_header(self, buffer: bytearray | memoryview, offset: int, length: int) -> None:
        """Write the header of a PSH frame into *buffer* at *offset* and count its payload as sent.

        The *length* bytes of payload lie, or will lie, right behind it. The caller hands the frame to the
        transport behind all frames made before it: what `Session.take_control` held at this moment included.
        Raise ValueError when *length* is not between 1 and the lesser of `sendable()` and `max_frame`.
        """
        settings = self._session.settings
        if not 0 < length <= settings.max_frame or length > self.sendable():
            raise ValueError(f"stream {self.id} may not push {length} bytes now")
        if self._sent is not None:
            self._sent.sent(length)
        HEADER.pack_into(buffer, offset, settings.version, PSH, length, self.id)

    def push(self, payload: bytes) -> None:
        """Queue a short payload, such as the target address, among the control frames, right behind the SYN.

        It is copied and cut at `max_frame`. Raise ValueError when it exceeds `sendable()`.
        """
        if len(payload) > self.sendable():
            raise ValueError(f"stream {self.id} may not push {len(payload)} bytes now")
        step = self._session.settings.max_frame
        for start in range(0, len(payload), step):
            piece = payload[start : start + step]
            head = bytearray(HEADER_SIZE)
            self.put_header(head, 0, len(piece))
            self._session.control += head + piece

    def finish(self) -> None:
        """Send FIN, once: call it when the last payload has been put. Later calls do nothing.

        Our own ends can go on receiving. The Go program drops the other direction when it sees a FIN, so
        towards it this comes last.
        """
        if self._advance(Event.SEND_FIN):
            self._session.control += pack_frame(self._session.settings.version, FIN, self.id)

    def consumed(self, count: int) -> None:
        """Report that *count* of the bytes the sink had kept are gone; this may queue a UPD.

        Does nothing after `abandon`. Raise ValueError for more bytes than the sink holds.
        """
        if self.abandoned or count == 0:
            return
        if not 0 < count <= self._unread:
            raise ValueError(f"stream {self.id}: {count} bytes consumed, {self._unread} held")
        self._release(count)
        if self._received is not None:
            self._take(self._received, count)

    def abandon(self) -> None:
        """Drop the read side: forget what the sink holds and discard what is still to come.

        Discarded bytes count as consumed, so a version 2 peer that does not stop at our FIN can drain and
        finish instead of holding its stream for ever. Smux has no word for "stop sending": a caller that
        knows the peer understands it may send one of its own, such as ``Session.nop(stream.id)``.
        """
        self.abandoned = True
        if unread := self._unread:
            self._release(unread)
            self._discard(unread)
        if self._received is not None:
            self._received.shrink()

    def receive(self, piece: memoryview) -> None:
        """Deliver a non-empty piece of payload. For the session."""
        count = len(piece)
        taken = 0 if self.abandoned else self.sink.on_data(piece)
        if self.abandoned:  # since long, or by the sink just now
            self._discard(count)
            return
        if taken < count:
            self._unread += count - taken
            self._session.budget.charge(count - taken)
        if taken and self._received is not None:
            self._take(self._received, taken)

    def receive_fin(self) -> None:
        """Take the peer's FIN. For the session."""
        if self._advance(Event.RECEIVE_FIN):
            if self._received is not None and not self._unread:
                self._received.shrink()
            self.sink.on_fin()

    def receive_update(self, consumed: int, window: int) -> None:
        """Take a UPD of the peer; version 1 ignores it. For the session."""
        if self._sent is None:
            return
        was_blocked = self.sendable() == 0
        self._sent.update(consumed, window)
        if was_blocked and self.sendable():
            self.sink.on_window()

    def lose(self, reason: SmuxError) -> None:
        """End with the session. For the session, which calls it once for each stream it still knows."""
        self._advance(Event.LOSE)
        self.sink.on_lost(reason)

    def _advance(self, event: Event) -> bool:
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        self.state = state
        if state is State.CLOSED:
            self._session.forget(self.id)
        return True

    def _release(self, count: int) -> None:
        self._unread -= count
        self._session.budget.release(count)

    def _take(self, received: ReceiveWindow, count: int) -> None:
        if received.take(count, self._unread):
            self._update_peer(received)
        if self.state >= State.HALF_CLOSED_REMOTE and not self._unread:
            received.shrink()

    def _discard(self, count: int) -> None:
        if self._received is not None and self._received.discard(count):
            self._update_peer(self._received)

    def _update_peer(self, received: ReceiveWindow) -> None:
        if self.state not in _OVER:  # nothing is sent for an id after the FINs of both sides
            self._session.control += pack_update(self.id, received.report(), received.size)
