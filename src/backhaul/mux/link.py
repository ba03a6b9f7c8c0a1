"""A smux session on a connection, which feeds the session and sends the frames of its streams."""

import logging
import math
import random
import socket
from typing import TYPE_CHECKING, Final, TypeAlias

from backhaul.errors import reason
from backhaul.net.buffers import shared_buffer
from backhaul.net.closing import linger
from backhaul.net.poller import FAULT, WOULD_BLOCK
from backhaul.net.predicates import acknowledge, at_eof_or_error
from backhaul.state import LinkState
from backhaul.wire.peer import Feature, Peer
from backhaul.wire.smux import HEADER_SIZE, Role, Session, Settings, SmuxError

from .altered import AlteredError
from .owner import LinkOwner
from .pacing import avoid_waiting
from .sender import Outlet, Sender, SenderOwner
from .stall import StallDetector
from .targets import CLEAR, Targets
from .transient import Transient

if TYPE_CHECKING:
    from collections.abc import Callable

    from backhaul.relay.channel import Consumer

    from .resources import LinkResources, SenderResources
    from .sink import TunnelSink, TunnelStream

log = logging.getLogger("backhaul.mux")

_EARLIEST_NOP: Final = 0.6  # of the interval
READ_SIZE = 1 << 18  # bytes per wake-up: eight frames of the default size
_HANDSHAKE_TYPE = 1  # third byte of a control channel's handshake; in a NOP, all that may precede streams, it is 0

_IN = shared_buffer(READ_SIZE)  # shared: every read is handled before the next


MakeSender: TypeAlias = "Callable[[SenderOwner, SenderResources, socket.socket, StallDetector], Outlet]"


class Link(Transient):
    """Owns a connection and the session on it; its sender writes, and its detector notices stalls.

    Reading stays here, although that makes a large class: together with the session it is one path that every read
    takes, and a further object would cost a call.
    """

    __slots__ = (
        "_ending",
        "_fresh",
        "_keepalive",
        "_parse",
        "_paused",
        "_relay",
        "_whole_frames",
        "closed",
        "conn",
        "feeding",
        "half_close",
        "load",
        "milestone",
        "number",
        "owner",
        "peer",
        "proved",
        "proven",
        "sender",
        "session",
        "stall",
        "targets",
        "touched",
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
        self._relay = relay
        self.number = relay.next_link()
        self.conn = conn
        self.session: Session[TunnelSink] = Session(role, settings, self, relay.loop.time())
        self.stall = StallDetector(relay, conn, self.session, self.tell_owner)
        self.sender = make_sender(self, relay, conn, self.stall)
        self.peer = peer
        """The other end."""
        self.targets = targets
        """The form of the targets of its streams."""
        self.whole_window = peer.supports(Feature.WHOLE_WINDOW)
        """True if streams may use their whole window; an attribute because each read of a user needs it."""
        self.half_close = peer.supports(Feature.HALF_CLOSE)
        """True if the peer keeps one direction of a stream open when the other ends; an attribute as above."""
        self.proven = proven
        """True if the connection is known to lead to the client; otherwise the answer of a target proves it."""
        self.proved = False
        """True once the other end has sent frames of a session."""
        self.closed = False
        self.feeding = False
        """True while bytes are parsed; no stream may be written then."""
        self.touched: list[Consumer] = []
        """Consumers with payload that still lies in the shared buffer."""
        self.load = 0
        """The number of streams that was last reported to the owner."""
        self._whole_frames = peer.supports(Feature.WHOLE_FRAMES)
        self.owner = owner
        """The transport that decides about its streams."""
        self._fresh = role is Role.CLIENT and not peer.extended  # its first bytes may be a handshake of v0.7.2
        self._paused = False  # the connection is not read, because the session has no room
        self._ending = ""  # the reason why the link ends as soon as everything has left
        self._keepalive = relay.loop.call_at(self.session.next_deadline, self._tick)
        self._parse: Callable[[memoryview], None] = self.session.feed
        self.milestone: float = math.inf
        """The received bytes of the session at which ``passed`` is called, after a read; most sessions have none."""

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
        """Begin with ``rest``, bytes that have been read already."""
        avoid_waiting(self.conn)
        self._relay.links.add(self)
        self._relay.poller.own(self.conn, self._readable, self)
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
        """Send the pending control frames, unless the connection is blocked."""
        session = self.session
        if (session.control or session.late) and not self.sender.blocked and not self.closed:
            self.sender.transmit(session.take_control())

    def flush_late(self) -> None:
        """Send the late frames with the next others, or soon."""
        if self.session.late:
            self._relay.late_frames.add(self)

    def settle(self) -> None:
        """Act on consumed bytes: send window updates, resume a paused session."""
        session = self.session
        if session.control:
            self.flush()
        if not (self._paused or session.control) and session.room > 0:
            return  # as nearly always
        if self._paused != session.paused and not self.closed:
            self._turn_reading()

    def drained(self) -> None:
        """Continue after everything has left: with consumed bytes, waiting streams, and the end."""
        self.settle()
        self.flush()
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

    def tell_load(self) -> None:
        """Tell the owner if the number of streams has changed; call it after a stream was opened."""
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

    def passed(self) -> None:
        """Act on the milestone, which is then cleared."""
        self.milestone = math.inf

    def now(self) -> float:
        """Return the time of the event loop."""
        return self._relay.loop.time()

    def on_refused(self, stream_id: int) -> None:
        """Log that the peer opens too many streams."""
        log.warning("session has too many streams: stream %d and further ones are ignored", stream_id)

    def tell_owner(self) -> None:
        """Tell the owner that new users may use the session, or should avoid it."""
        self.owner.load_changed(self)

    def _turn_reading(self) -> None:
        """Stop or resume reading the connection."""
        self._paused = not self._paused
        if self._paused:
            self._relay.poller.ignore_readable(self.conn)
            self.stall.reading_stops()
        else:
            self._relay.poller.on_readable(self.conn, self._readable)
            self.stall.reading_goes_on()

    def _detach(self) -> None:
        self.closed = True
        self.sender.close()
        self.stall.close()
        self._keepalive.cancel()
        self._relay.links.discard(self)
        if self.conn.fileno() >= 0:
            self._relay.poller.forget(self.conn)

    def _tick(self) -> None:
        try:
            # A clock's beat is a mark by which others know the tunnel; v0.7.2 beats like one.
            share = random.uniform(_EARLIEST_NOP, 1) if self.peer.extended else 1.0  # noqa: S311
            self.session.tick(self._relay.loop.time(), share)
        except SmuxError as error:
            self.lost(str(error))
            return
        except Exception as error:  # noqa: BLE001 - without a further tick the session would never end
            self.fail(error)
            return
        self.flush()
        if not self.closed:
            self._keepalive = self._relay.loop.call_at(self.session.next_deadline, self._tick)

    def _readable(self) -> None:
        try:
            count = self.conn.recv_into(_IN)
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
        self._take(_IN[:count])

    def _take(self, data: memoryview) -> None:
        if self._fresh and self._hand_back(data):
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

    def _hand_back(self, data: memoryview) -> bool:
        """Give the connection back to the owner if its first bytes begin a handshake; return whether they do."""
        self._fresh = False
        if not _begins_handshake(data, len(self)):
            return False
        self._detach()
        self.session.close(SmuxError("the client has returned"))
        self.owner.not_smux(self, bytes(data))
        return True

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
        if isinstance(error, AlteredError) or self.peer.extended:  # a handshake has compared transports and versions
            remedy = "something between both ends alters their bytes"
        else:
            remedy = "both ends need the same transport and mux_version"
            if not self.proved:
                self.owner.fit.mismatched(f"{error}; {remedy}")
        self._relay.complaints.warn(str(error), f"closed a session: {error}; {remedy}")
        self.end(str(error))


def _begins_handshake(data: memoryview, streams: int) -> bool:
    """Return whether first bytes begin a handshake: no frame begins with 0, nor with data before any stream."""
    return data[0] == 0 or (not streams and data[2:3] == bytes([_HANDSHAKE_TYPE]))
