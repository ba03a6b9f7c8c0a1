"""A smux session on a connection, with the frames of its streams."""

import socket
from typing import TYPE_CHECKING, Final, TypeAlias

from backhaul.errors import reason
from backhaul.net.closing import linger
from backhaul.net.poller import FAULT
from backhaul.net.predicates import at_eof_or_error
from backhaul.state import LinkState
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.smux import FloodError, Role, Session, Settings, SmuxError

from .keepalive_timer import KeepaliveTimer
from .owner import LinkOwner
from .pacing import avoid_waiting
from .reader import Reader
from .sender import Outlet, Sender, SenderOwner
from .stall import StallDetector
from .targets import CLEAR, Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from .resources import LinkResources, SenderResources
    from .sink import TunnelSink, TunnelStream

_ORPHAN: Final = 1 << 9  # bytes of memory that a stream takes which only the peer has not ended
_LITTLE: Final = 1 << 13  # bytes that any session may keep, and that may wait, as many as there are of them

MakeSender: TypeAlias = "Callable[[SenderOwner, SenderResources, socket.socket, StallDetector], Outlet]"


class Link(Reader):
    """Owns a connection and the session on it; its sender writes, and its detector notices stalls."""

    __slots__ = (
        "_counted",
        "_ending",
        "_keepalive",
        "half_close",
        "load",
        "number",
        "sender",
        "targets",
        "together",
        "whole_window",
    )

    def __init__(
        self,
        relay: "LinkResources",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: LinkOwner,
        *,
        peer: Peer,
        proven: bool = True,
        make_sender: MakeSender = Sender,
        targets: Targets = CLEAR,
    ) -> None:
        session: Session[TunnelSink] = Session(role, settings, self, relay.loop.time())
        stall = StallDetector(relay, conn, peer, session, self.tell_owner)
        fresh = role is Role.CLIENT and not peer.extended
        super().__init__(relay, conn, session, stall, owner, peer=peer, proven=proven, fresh=fresh)
        self.number = relay.next_link()
        self.together = relay.poller.together
        """The sessions with frames that wait for others; an attribute because each frame needs it."""
        self.sender = make_sender(self, relay, conn, stall)
        self.targets = targets
        """The form of the targets of its streams."""
        self.whole_window = peer.supports(Feature.WHOLE_WINDOW)
        """True if streams may use their whole window; an attribute because each read of a user needs it."""
        self.half_close = peer.supports(Feature.HALF_CLOSE)
        """True if the peer keeps one direction of a stream open when the other ends; an attribute as above."""
        self.load = 0
        """The number of streams that was last reported to the owner."""
        self._counted = 0  # bytes that the budget knows of
        self._ending = ""  # the reason why the link ends as soon as everything has left
        # A clock's beat is a mark by which others know the tunnel; v0.7.2 beats like one.
        self._keepalive = KeepaliveTimer(relay.loop, self, regular=not peer.extended)
        self._keepalive.begin()

    def __len__(self) -> int:
        """Return how many streams are not closed by both sides."""
        return len(self.session.streams)

    @property
    def stalled(self) -> bool:
        """True if the session was found stalled and has not moved since."""
        return self.stall.stalled

    def state(self) -> LinkState:
        """Return the state of this session as data."""
        return LinkState(
            number=self.number,
            streams=len(self),
            extensions=self.peer.extended,
            proven=self.proven,
            stalled=self.stalled,
            unread=self.session.unread,
            unsent=self.sender.unsent,
        )

    def start(self, rest: bytes = b"") -> None:
        """Begin with ``rest``, bytes that have been read already; end if the connection can't be watched."""
        avoid_waiting(self.conn)
        self._relay.links.add(self)
        try:
            self._relay.poller.own(self.conn, self._readable, self)
        except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self.end(reason(error))
            return
        if not rest:
            return
        try:
            self._take(memoryview(bytearray(rest)))
        except Exception as error:  # noqa: BLE001 - bytes may be lost, so it must not go on
            self.fail(error)

    def usable(self) -> bool:
        """Return whether a stream should be opened.

        The connection may have ended since it was last read. For a session that has just stalled the answer is False
        once: after that it is known to be ``stalled``, and used if there is no other.
        """
        if self.closed:
            return False
        if not self.feeding and at_eof_or_error(self.conn):
            self.lost("the peer closed it")
            return False
        return not self.stall.detect()

    def flush(self) -> None:
        """Send the pending frames now, unless the connection is blocked."""
        session = self.session
        if not (session.control or session.late) or self.closed:
            return
        if self.sender.blocked:
            self.weigh()
        else:
            self.sender.transmit(session.take_control())

    def flush_together(self) -> None:
        """Send the pending frames with those of other users who are served now, at once if there are none.

        Many frames do not wait, because the session would not be read while they do.
        """
        if self.together.on and len(self.session.control) <= _LITTLE:
            self.together.add(self)
        else:
            self.flush()

    def flush_late(self) -> None:
        """Send the late frames with the next others, or soon."""
        if self.session.late:
            self._relay.late_frames.add(self)

    def settle(self) -> None:
        """Act on consumed bytes: send window updates, resume a paused session."""
        session = self.session
        if session.control:
            self.flush_together()
        if not (self._paused or session.control) and session.room > 0:
            return  # as nearly always
        if self._paused != session.paused and not self.closed:
            self._turn_reading()

    def drained(self) -> None:
        """Continue after everything has left: with control frames, reading, waiting streams, and the end."""
        self.flush()
        self.settle()
        if self._counted:
            self.weigh()
        self.sender.serve_turns()
        if self._ending:
            self.finish(self._ending)

    def finish(self, why: str) -> None:
        """Close the connection once everything has left, unless a stream is opened before that."""
        if self.feeding:
            self._relay.loop.call_soon(self.finish, why)
            return
        self.flush()
        self._ending = "" if len(self) else why
        if self._ending and self.settled:
            self.end(why)

    @property
    def settled(self) -> bool:
        """True if the other end would lose nothing, as far as is known, if the session ended now."""
        return not self.sender.blocked

    def lost(self, why: str) -> None:
        """Act on the loss of the connection: the session ends with it."""
        self.end(why)

    def end(self, why: str) -> None:
        """Close the connection, and lose the streams on it."""
        if self.closed:
            return
        self._detach()
        linger(self._relay.poller, self.conn)
        self.session.close(SmuxError(why))
        self.owner.link_lost(self, why)

    def abort(self) -> None:
        """End a session in an unknown state; all of its streams are reset, even with bytes to send or to receive."""
        touched, self.touched = self.touched, []
        self.end("internal error")
        for consumer in touched:
            consumer.abort()

    def fail(self, error: Exception) -> None:
        """End because of an unexpected exception."""
        self.abort()
        self._relay.poller.faults.fault(FAULT, error)

    def stream_closed(self) -> None:
        """Tell the owner that a stream has been closed."""
        if not self.closed:
            self.tell_load()
            self.owner.stream_closed(self)

    def weigh(self) -> None:
        """Count in the budget what the peer makes this session keep, unless it is little."""
        session = self.session
        kept = session.orphans * _ORPHAN + len(session.control) + self._unfinished
        if kept <= _LITTLE or self.closed:
            kept = 0
        if kept != self._counted:
            self._counted = kept
            self._relay.budget.hold(self, kept)

    @property
    def _unfinished(self) -> int:
        """Bytes of a record that has arrived in part."""
        return 0

    def over_budget(self) -> None:
        """End the session, for which too much is kept."""
        self.end("its peer makes this end keep too much, and memory is short")

    def tell_load(self) -> None:
        """Count what is kept, and tell the owner if the number of streams has changed; call it after one was opened."""
        if self.session.orphans or self._counted:
            self.weigh()
        if (load := len(self.session.streams)) != self.load:
            self.load = load
            self.owner.load_changed(self)

    def on_stream(self, stream: "TunnelStream") -> None:
        """Give a stream that the peer opened to the owner."""
        self.owner.stream_opened(self, stream)

    @property
    def resets(self) -> bool:
        """True if the peer may reset streams."""
        return self.peer.supports(Feature.RESET)

    def on_reset(self, stream: "TunnelStream") -> None:
        """Pass on the reset of a stream."""
        stream.sink.on_reset()

    def now(self) -> float:
        """Return the time of the event loop."""
        return self._relay.loop.time()

    @property
    def deadline(self) -> float:
        """The time of the event loop at which ``beat`` has something to do."""
        return self.session.next_deadline

    def beat(self, share: float) -> None:
        """Send a NOP if one is due after ``share`` of the interval. Raises SmuxError after a long silence."""
        try:
            self.session.tick(self._relay.loop.time(), share)
        except FloodError as error:
            self._reject(error)
        self.flush()

    def on_refused(self, stream_id: int) -> None:
        """Log that the peer opens too many streams."""
        self._relay.complaints.warn(
            ("streams", str(self.peer)),
            f"session with {self.peer} has too many streams: stream {stream_id} and further ones are ignored",
        )

    def tell_owner(self) -> None:
        """Tell the owner that new users may use the session, or should avoid it."""
        self.owner.load_changed(self)

    def _detach(self) -> None:
        self.closed = True
        self.sender.close()
        self.stall.close()
        self._keepalive.end()
        self.weigh()
        self._relay.links.discard(self)
        if self.conn.fileno() >= 0:
            self._relay.poller.forget(self.conn)

    def _hand_back(self, data: bytes) -> None:
        self._detach()
        self.session.close(SmuxError("the client has returned"))
        self.owner.not_smux(self, data)
