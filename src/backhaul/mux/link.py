"""A smux session on a connection: reads, feeds, and writes what the streams have to say."""

import asyncio
import logging
import select
import socket
from typing import TYPE_CHECKING, Final

from backhaul.net.buffers import shared_buffer
from backhaul.net.poller import FAULT, WOULD_BLOCK, reason, release
from backhaul.net.predicates import acknowledge, at_eof_or_error, retransmissions
from backhaul.relay.turns import Turns
from backhaul.state import LinkState
from backhaul.wire.smux import HEADER_SIZE, Role, Session, Settings, SmuxError

if TYPE_CHECKING:
    from backhaul.relay.channel import Consumer
    from backhaul.relay.engine import Relay

    from .owner import LinkOwner
    from .sink import TunnelSink, TunnelStream

log = logging.getLogger("backhaul.mux")

READ_SIZE = 1 << 18  # bytes per wake-up: eight frames of the default size
# Our two ends recognise each other by a NOP with this id; the Go program ignores it. No stream ever has it:
# even ids are those that the client's side would open, and it opens none.
HELLO: Final = 0xFFFF_FFFE
# On a connection that does not keep up, a small frame of another stream waits behind the bytes that the kernel has
# not sent yet. Pieces of 28 KiB, each when less than half of this is unsent, keep that below one frame of the default
# size, 32 KiB; the kernel itself would take up to 64 KiB more than this before it blocks.
NOTSENT_LOWAT = 1 << 13  # bytes
_PIECE = 28 << 10  # bytes of payload per wake-up of a stream, once the connection has blocked ...
_FLOWING = 16 * _PIECE  # ... until so much in a row, half a megabyte, has left at once: few windows open by more ...
# ... and so much before that and after it, because fewer system calls count for more then. With the headers of four
# frames, and that of a WebSocket message, no more than eight whole records of TLS.
_BURST = (1 << 17) - 128
_REST: Final = 0.5  # seconds for which a session is not read after which new streams had better go elsewhere, ...
_REST_BLOCKED: Final = 2.0  # ... and for which nothing leaves: a slow line takes a while for what is under way, ...
_REST_UNANSWERED: Final = 2  # ... transmissions in vain of what its peer has not acknowledged, 0.6 s at least, ...
_ASK_EVERY: Final = 0.1  # seconds between questions to the kernel about that: one for each user would cost 0.5 %
_STALL: Final = 5.0  # ... and those that are worth a line in the log
_HANDSHAKE_TYPE = 1  # third byte of a control channel's handshake; in a NOP, all that may precede streams, it is 0

_IN = shared_buffer(READ_SIZE)  # shared: every read is dealt with before the next


class Link:
    """Owns a connection and the session on it."""

    def __init__(
        self,
        relay: "Relay",
        conn: socket.socket,
        role: Role,
        settings: Settings,
        owner: "LinkOwner",
        *,
        ours: bool,
        proven: bool = True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.relay = relay
        self.conn = conn
        self.begun = self._loop.time()
        self.session: Session[TunnelSink] = Session(role, settings, self, self._loop.time())
        self.ours = ours  # whether the other end is one of ours; else a hello may still tell
        self.closed = False
        self.blocked = False  # the connection takes no more bytes now
        self.proven = proven  # whether it is known to lead to the client; else a target's answer will tell
        self.stalled = False  # it was found to stand still: somebody does not take what came, at one end or the other
        self._still_since = 0.0  # paused, or blocked and nothing has left
        self._asked_at = 0.0  # when the kernel was asked last whether it transmits in vain
        self._outgoing = select.poll()  # tells whether what was sent last has left
        self._outgoing.register(conn, select.POLLOUT)
        self.burst = _BURST  # bytes of payload per wake-up of a stream
        self._flowing = 0  # bytes that have left at once since it blocked
        self.feeding = False
        self.touched: list[Consumer] = []  # streams with payload that still lies in the shared buffer
        self.turns = Turns()  # streams with something to send, while blocked
        self._owner = owner
        self._role = role
        self.load = 0  # streams of which the owner has been told last
        self._fresh = role is Role.CLIENT
        self.proved = False  # the other end has sent frames of a session
        self._paused = False
        self._ending = ""  # why, when it has only to send what is left
        self._stall_alarm: asyncio.TimerHandle  # set while paused
        self._backlog = bytearray()
        self._keepalive = self._loop.call_at(self.session.next_deadline, self._tick)

    def __len__(self) -> int:
        """Return how many streams are not closed by both sides."""
        return len(self.session)

    def state(self) -> LinkState:
        """Return what there is to say about this session."""
        return LinkState(
            streams=len(self),
            extensions=self.ours,
            proven=self.proven,
            stalled=self.stalled,
            unread=self.session.unread,
            unsent=len(self._backlog),
        )

    def start(self, rest: bytes = b"") -> None:
        """Begin; `rest` are bytes that have been read already."""
        # Whatever `nodelay` says. Frames are joined here; what Nagle would hold until the peer's delayed
        # acknowledgement is the first request behind the opening of a stream (measured: 43 ms instead of 0.3),
        # and in version 2 the end of each window (2 MB/s instead of 300).
        self.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
        self.relay.links.add(self)
        self.relay.poller.own(self.conn, self._readable, self.abort)
        try:
            self._begin(rest)
        except Exception as error:  # noqa: BLE001 - bytes may be lost: it must not go on
            self.fail(error)

    def _begin(self, rest: bytes) -> None:
        if rest:
            self._take(memoryview(rest))
        if self.closed or self.ours:
            return
        if self._role is Role.CLIENT:
            self._readable()  # a hello that is there already is answered before the first stream is opened
        else:
            self.session.nop(HELLO)
            self.flush()

    def usable(self) -> bool:
        """Return whether a stream may be opened: the end of the connection may have come and not been read yet.

        Of a session that stands still, once: it is `stalled` then, and to be used where there is no other.
        """
        if not self.closed and not self.feeding and at_eof_or_error(self.conn):
            self.end("the peer closed it")
        elif not self.stalled and self._stands_still():
            self._tell_stall(stalled=True)
            return False
        return not self.closed

    def _stands_still(self) -> bool:
        now = self._loop.time()
        if self._paused or self.blocked:
            return now - self._still_since > (_REST if self._paused else _REST_BLOCKED)
        if now - self._asked_at < _ASK_EVERY:
            return False
        self._asked_at = now
        return retransmissions(self.conn) >= _REST_UNANSWERED

    def transmit(self, data: memoryview | bytes) -> None:
        """Send `data`, or keep what the connection does not take now."""
        try:
            if self.blocked:
                self._keep(data)
            elif (sent := self._send(data)) < len(data):
                self._block()
                self._keep(data[sent:])
            elif self.burst < _BURST:
                self._pace(len(data))
        except OSError as error:
            self.end(reason(error))
        except Exception as error:  # noqa: BLE001 - whatever the caller does, the peer has not got all of it
            self.fail(error)

    def park(self, consumer: "Consumer", *, bulk: bool) -> None:
        """Call `consumer.unpark()` once when the connection takes bytes again; who sends little goes first."""
        self.turns.add(consumer, bulk=bulk)

    def _send(self, data: memoryview | bytes) -> int:
        try:
            return self.conn.send(data)
        except WOULD_BLOCK:
            return 0

    def _keep(self, data: memoryview | bytes) -> None:
        self._backlog += data
        self.relay.budget.hold(self, len(self._backlog))

    def _pace(self, sent: int) -> None:
        """Wait until what was sent has left; if that has been at once for long enough, don't look any more."""
        if not self._outgoing.poll(0):
            self._block()
        else:
            self._flowing += sent
            if self._flowing >= _FLOWING:
                self.burst = _BURST

    def _block(self) -> None:
        self.blocked = True
        self._moved()
        self.burst = _PIECE
        self._flowing = 0
        self.relay.poller.on_writable(self.conn, self._writable)

    def flush(self) -> None:
        """Send the pending control frames, unless the connection is blocked."""
        if self.session.control and not self.blocked and not self.closed:
            self.transmit(self.session.take_control())

    def settle(self) -> None:
        """Do what follows from bytes that were consumed: window updates leave, a paused session reads on."""
        if self.session.control:
            self.flush()
        if self._paused != self.session.paused and not self.closed:
            self._paused = not self._paused
            if self._paused:
                self._still_since = self._loop.time()
                self.relay.poller.ignore_readable(self.conn)
                self._stall_alarm = self._loop.call_later(_STALL, self._complain)
            else:
                self._stall_alarm.cancel()
                self.relay.poller.on_readable(self.conn, self._readable)
                self._go_on()

    def finish(self, why: str) -> None:
        """The connection is of no more use once everything has left, unless another stream is opened before."""
        if self.feeding:
            self._loop.call_soon(self.finish, why)
        elif self.blocked:
            self._ending = why
        elif not len(self):
            self.end(why)

    def end(self, why: str) -> None:
        """The connection is of no more use: close it, and lose the streams on it."""
        if self.closed:
            return
        self._detach()
        release(self.relay.poller, self.conn)
        self.session.close(SmuxError(why))
        self._owner.link_lost(self, why)

    def abort(self) -> None:
        """End a session in an unknown state: whatever its streams had to say or to hear, they are reset."""
        touched, self.touched = self.touched, []
        self.end("internal error")
        for consumer in touched:
            consumer.reset()

    def over_budget(self) -> None:
        """See Holder."""
        self.end("its peer does not read, and memory is short")

    def fail(self, error: Exception) -> None:
        """End because of an exception that nobody expected."""
        self.abort()
        self.relay.poller.faults.fault(FAULT, error)

    def stream_closed(self) -> None:
        """A stream is gone; its owner may want to know."""
        if not self.closed:
            self.tell_load()
            self._owner.stream_closed(self)

    def tell_load(self) -> None:
        """Tell the owner if the number of streams has changed; it has to be called when one was opened."""
        if len(self.session) != self.load:
            self.load = len(self.session)
            self._owner.load_changed(self)

    def on_stream(self, stream: "TunnelStream") -> None:
        """See smux.Handler."""
        self._owner.stream_opened(self, stream)

    def on_nop(self, stream_id: int) -> None:
        """See smux.Handler: a hello, or (between two of ours) the reset of a stream."""
        if stream_id == HELLO:
            if self._role is Role.CLIENT and not self.ours:
                self.session.nop(HELLO)
            self.ours = True
            self._owner.recognised(self)
        elif self.ours and (stream := self.session.get(stream_id)):
            stream.sink.on_reset()

    def now(self) -> float:
        """See smux.Handler."""
        return self._loop.time()

    def on_refused(self, stream_id: int) -> None:
        """See smux.Handler."""
        log.warning("a session has too many streams: stream %d and further ones are ignored", stream_id)

    def _moved(self) -> None:
        if not self._paused:
            self._still_since = self._loop.time()

    def _go_on(self) -> None:
        if not (self._paused or self.blocked):
            self._tell_stall(stalled=False)

    def _tell_stall(self, *, stalled: bool) -> None:
        if self.stalled is not stalled:
            self.stalled = stalled
            self._owner.load_changed(self)

    def _complain(self) -> None:
        """Say once that somebody who does not read holds up all others: with version 1 there is no other way."""
        log.warning(
            "a session with %d streams stands still: somebody does not read, and mux_recievebuffer is full; "
            "with mux_version = 2 on both ends only that one would stall",
            len(self),
        )

    def _detach(self) -> None:
        self.closed = True
        self.relay.budget.hold(self, 0)
        self._keepalive.cancel()
        if self._paused:
            self._stall_alarm.cancel()
        self.relay.links.discard(self)
        self.relay.poller.forget(self.conn)

    def _tick(self) -> None:
        try:
            self.session.tick(self._loop.time())
        except SmuxError as error:
            self.end(str(error))
            return
        except Exception as error:  # noqa: BLE001 - nobody would look after it any more
            self.fail(error)
            return
        self.flush()
        if not self.closed:
            self._keepalive = self._loop.call_at(self.session.next_deadline, self._tick)

    def _readable(self) -> None:
        try:
            count = self.conn.recv_into(_IN)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self.end(reason(error))
            return
        if not count:
            self.end("the peer closed it")
            return
        if not self.ours:
            acknowledge(self.conn)
        if self.stalled:
            self._go_on()
        self._take(_IN[:count])

    def _take(self, data: memoryview) -> None:
        if self._fresh:
            self._fresh = False
            if self._is_handshake(data):
                self._detach()
                self.session.close(SmuxError("the client has come back"))
                self._owner.not_smux(self, bytes(data))
                return
        error = self._feed(data)
        if self.touched:
            touched, self.touched = self.touched, []
            if not self.proven:
                self.proven = True
                self._owner.load_changed(self)
            for consumer in touched:
                consumer.deliver()
        if error:
            remedy = "both ends need the same transport and mux_version"
            self.relay.complaints.warn(error, f"closed a session: {error}; {remedy}")
            if not self.proved:
                self._owner.fit.mismatched(f"{error}; {remedy}")
            self.end(error)
        else:
            if not self.proved and len(data) >= HEADER_SIZE:
                self.proved = True
                self._owner.fit.proved()
            self.settle()
            self.tell_load()

    def _is_handshake(self, data: memoryview) -> bool:
        """Whether the first bytes begin a handshake: no smux frame begins with 0, nor with data before any stream."""
        return data[0] == 0 or (not len(self) and data[2:3] == bytes([_HANDSHAKE_TYPE]))

    def _feed(self, data: memoryview) -> str:
        self.feeding = True
        try:
            self.session.feed(data)
        except SmuxError as error:
            return str(error)
        finally:
            self.feeding = False
        return ""

    def _writable(self) -> None:
        try:
            if self._backlog:
                del self._backlog[: self.conn.send(self._backlog)]
        except WOULD_BLOCK:
            return
        except OSError as error:
            self.end(reason(error))
            return
        self._moved()
        self.relay.budget.hold(self, len(self._backlog))
        if not self._backlog:
            self.blocked = False
            self.relay.poller.ignore_writable(self.conn)
            self._go_on()
            self.settle()
            self._unpark()
            if self._ending:
                self.finish(self._ending)

    def _unpark(self) -> None:
        """Let those who waited send in turn, until the connection blocks again."""
        for _ in range(len(self.turns)):
            if self.blocked or self.closed:
                return
            self.turns.take().unpark()
