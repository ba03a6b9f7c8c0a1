"""One stream of a session: its states, its flow control, and the sink for its payload."""

from __future__ import annotations

from enum import IntEnum, auto
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from .frames import FIN, HEADER, HEADER_SIZE, PSH, pack_update
from .window import UNLIMITED, ReceiveWindow, SendWindow

if TYPE_CHECKING:
    from .errors import SmuxError
    from .session import Session


class State(IntEnum):
    """The directions that are still open; the names are those of TCP and HTTP/2."""

    OPEN = auto()
    HALF_CLOSED_LOCAL = auto()  # this end has sent FIN
    HALF_CLOSED_REMOTE = auto()  # the peer has sent FIN
    CLOSED = auto()  # both have; the session has dropped the id
    LOST = auto()  # the session ended before both had


class Event(IntEnum):
    """An event that moves a stream from state to state."""

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
"""The next state by state and event. Missing pairs change nothing: a second FIN of either side is ignored."""

# In Python 3.11 reading a member from its class takes 0.12 us, seven times as long as a global, and each stream causes
# half a dozen of these.
_OPEN: Final = State.OPEN
_HALF_CLOSED_LOCAL: Final = State.HALF_CLOSED_LOCAL
_HALF_CLOSED_REMOTE: Final = State.HALF_CLOSED_REMOTE
_CLOSED: Final = State.CLOSED
_SEND_FIN: Final = Event.SEND_FIN
_RECEIVE_FIN: Final = Event.RECEIVE_FIN

_MAY_PUSH: Final = frozenset({State.OPEN, State.HALF_CLOSED_REMOTE})
_OVER: Final = frozenset({State.CLOSED, State.LOST})


class Sink(Protocol):
    """The caller's destination for a stream's payload. No method may raise, and none may feed the session."""

    def on_data(self, view: memoryview) -> int:
        """Take payload; return how many of its bytes, from the front, are consumed for good.

        The view is valid during the call only. The sink copies the other bytes, and reports them by ``Stream.consumed``
        when they are consumed. Bytes may arrive after ``on_fin``, because in the Go library a FIN may overtake data of
        a stream that is being closed.
        """

    def on_fin(self) -> None:
        """Learn that the peer has finished. Called once, also after ``Stream.abandon``."""

    def on_window(self) -> None:
        """Learn that ``Stream.sendable`` has risen from 0."""

    def on_lost(self, reason: SmuxError) -> None:
        """Learn that the session ended before both sides had finished. Nothing is called after this."""


S = TypeVar("S", bound=Sink)
"""The sinks of a session's streams, for callers that need more of them than a ``Sink``."""


class Stream(Generic[S]):
    """A two-way byte stream within a session.

    Made by ``Session.open``, or by the session for a SYN of the peer. Its new owner assigns ``sink`` at once. Bytes
    that the sink has not consumed are charged to the session until ``consumed`` or ``abandon`` is called, even if the
    stream is closed by then.
    """

    __slots__ = ("_received", "_sent", "_session", "_unread", "abandoned", "id", "sink", "state")

    sink: S
    """The destination of payload and events."""

    def __init__(self, session: Session[S], stream_id: int) -> None:
        self._session = session
        self._unread = 0
        windowed = session.settings.version != 1
        self._sent = SendWindow() if windowed else None
        self._received = ReceiveWindow(session.settings.stream_buffer, session.growth) if windowed else None
        self.id = stream_id
        self.state: State = _OPEN
        self.abandoned = False
        """True once the read side has been dropped."""

    def sendable(self) -> int:
        """Return the payload bytes that may be pushed now: 0 when blocked, finished or lost.

        Version 1 has no window, so it returns ``UNLIMITED``. Use a positive number, however small: a sender that waits
        for room for a whole frame may wait for ever.
        """
        if self.state not in _MAY_PUSH:
            return 0
        return UNLIMITED if self._sent is None else self._sent.space

    def stretch(self) -> int:
        """Return the part of ``sendable`` that should be pushed next to a peer with the Go library."""
        if self.state not in _MAY_PUSH:
            return 0
        return UNLIMITED if self._sent is None else self._sent.stretch()

    def put_headers(self, buffer: bytearray | memoryview, offset: int, count: int) -> int:
        """Write the headers of PSH frames for ``count`` bytes of payload into ``buffer``; return where the last ends.

        The first header is at ``offset``. After each header follow ``max_frame`` bytes of payload, fewer after the
        last; the caller writes them, now or later. Counts the payload as sent: the caller sends the frames after all
        frames made before them, including those that ``Session.take_control`` would return at this moment. Raises
        ValueError unless ``count`` is between 1 and ``sendable()``.
        """
        if not 0 < count <= self.sendable():
            raise ValueError(f"stream {self.id} may not push {count} bytes now")
        if self._sent is not None:
            self._sent.sent(count)
        settings, stream_id = self._session.settings, self.id
        version, largest = settings.version, settings.max_frame
        while count > largest:
            HEADER.pack_into(buffer, offset, version, PSH, largest, stream_id)
            offset += HEADER_SIZE + largest
            count -= largest
        HEADER.pack_into(buffer, offset, version, PSH, count, stream_id)
        return offset + HEADER_SIZE + count

    def push(self, payload: bytes) -> None:
        """Queue a short payload, such as the target, among the control frames, right after the SYN.

        It is copied and cut at ``max_frame``. Raises ValueError if it exceeds ``sendable()``.
        """
        if len(payload) > self.sendable():
            raise ValueError(f"stream {self.id} may not push {len(payload)} bytes now")
        settings = self._session.settings
        for start in range(0, len(payload), settings.max_frame):
            piece = payload[start : start + settings.max_frame]
            self._session.control += HEADER.pack(settings.version, PSH, len(piece), self.id) + piece
        if self._sent is not None:
            self._sent.sent(len(payload))

    def finish(self) -> None:
        """Queue the FIN, after the last payload; later calls do nothing.

        This end goes on receiving. The Go program drops the other direction when it receives a FIN, so towards it this
        call comes last.
        """
        if self._advance(_SEND_FIN):
            self._session.control += HEADER.pack(self._session.settings.version, FIN, 0, self.id)

    def finish_late(self) -> None:
        """Do as ``finish``; but a FIN that is the last frame of both sides is queued among the late frames."""
        if self._advance(_SEND_FIN):
            queue = self._session.late if self.state is _CLOSED else self._session.control
            queue += HEADER.pack(self._session.settings.version, FIN, 0, self.id)

    def consumed(self, count: int) -> None:
        """Report that ``count`` of the bytes that the sink kept are consumed; this may queue a UPD.

        Does nothing after ``abandon``. Raises ValueError for more bytes than the sink holds.
        """
        if self.abandoned or count == 0:
            return
        if not 0 < count <= self._unread:
            raise ValueError(f"stream {self.id}: {count} bytes consumed, {self._unread} held")
        self._unread -= count
        self._session.room += count
        if self._received is not None:
            self._take(self._received, count)

    def abandon(self) -> None:
        """Drop the read side: release the bytes that the sink holds, and discard those that arrive later.

        Discarded bytes count as consumed, so a version 2 peer that does not stop at this end's FIN can send the rest
        and finish instead of keeping its stream for ever. Smux has no signal for "stop sending". A caller whose peer
        understands more than the Go library gets ``Session.reset(stream.id)`` before that.
        """
        if not self.abandoned:
            self.abandoned = True
            self._session.orphans += self.state is _HALF_CLOSED_LOCAL
        if unread := self._unread:
            self._unread = 0
            self._session.room += unread
            self._discard(unread)
        if self._received is not None:
            self._received.shrink()

    def receive(self, piece: memoryview) -> None:
        """Deliver a non-empty piece of payload. Called by the session."""
        count = len(piece)
        taken = 0 if self.abandoned else self.sink.on_data(piece)
        if self.abandoned:  # before, or by the sink just now
            self._discard(count)
            return
        if taken < count:
            self._unread += count - taken
            self._session.room -= count - taken
        if taken and self._received is not None:
            self._take(self._received, taken)

    def receive_fin(self) -> bool:
        """Take the peer's FIN; return whether it is the first. Called by the session."""
        if not self._advance(_RECEIVE_FIN):
            return False
        if self._received is not None and not self._unread:
            self._received.shrink()
        self.sink.on_fin()
        return True

    def receive_update(self, consumed: int, window: int) -> bool:
        """Take a UPD of the peer, which version 1 ignores; return whether it reports more. Called by the session."""
        if self._sent is None:
            return False
        was_blocked = self.sendable() == 0
        reports_more = self._sent.update(consumed, window)
        if was_blocked and self.sendable():
            self.sink.on_window()
        return reports_more

    def lose(self, reason: SmuxError) -> None:
        """End with the session, which calls this once for each remaining stream."""
        self._advance(Event.LOSE)
        self.sink.on_lost(reason)

    def _advance(self, event: Event) -> bool:
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            return False
        if self.abandoned:
            self._session.orphans += (state is _HALF_CLOSED_LOCAL) - (self.state is _HALF_CLOSED_LOCAL)
        self.state = state
        if state is _CLOSED:
            self._session.forget(self.id)
        return True

    def _take(self, received: ReceiveWindow, count: int) -> None:
        if received.take(count, self._unread):
            self._update_peer(received)
        if self.state >= _HALF_CLOSED_REMOTE and not self._unread:
            received.shrink()

    def _discard(self, count: int) -> None:
        if self._received is not None and self._received.discard(count):
            self._update_peer(self._received)

    def _update_peer(self, received: ReceiveWindow) -> None:
        if self.state not in _OVER:  # nothing may be sent for an id after the FINs of both sides
            self._session.control += pack_update(self.id, received.report(), received.size)
