"""A connection with framed messages as the channel of one user."""

import logging
import socket
from collections.abc import Hashable
from typing import TYPE_CHECKING

from backhaul.errors import TransportError, reason
from backhaul.net.buffers import shared_buffer
from backhaul.net.closing import linger, release
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.portion import FIRST, LEAST, MOST, handle
from backhaul.net.predicates import acknowledge

from .budget import ANYBODY
from .channel import SHARED, Consumer
from .codec import MAX_PONGS, Codec
from .datagrams_over_tcp import keep_fresh
from .message_sender import MessageSender
from .rest import BROKEN, read_rest
from .unfinished import Unfinished

if TYPE_CHECKING:
    from .resources import ChannelResources

log = logging.getLogger("backhaul.tunnel")

IN = shared_buffer(MOST)
"""The buffer of all reads, each of which is handled before the next."""


class MessageChannel(MessageSender):
    """A connection of one user; owns it. Its codec frames both directions."""

    __slots__ = (
        "_codec",
        "_consumer",
        "_end_received",
        "_end_sent",
        "_ended",
        "_lingering",
        "_owner",
        "_parked",
        "_paused",
        "_pongs",
        "_portion",
        "_reset_received",
        "_touched",
        "_unfinished",
        "_unread",
        "burst",
        "frame_size",
        "half_close",
        "header_room",
        "quantum",
    )

    stream = ""
    frames = SHARED

    def __init__(
        self,
        relay: "ChannelResources",
        conn: socket.socket,
        codec: Codec,
        unsent: bytes = b"",
        *,
        owner: Hashable = ANYBODY,
    ) -> None:
        """``unsent`` is the rest of a message that has been sent in part, and goes first."""
        super().__init__(relay, conn)
        self._owner = owner
        self._codec = codec
        self.header_room = codec.header_room
        self.frame_size = self.burst = self.quantum = codec.frame_size  # there are no others on the connection
        self.half_close = codec.half_close
        self._consumer: Consumer | None = None
        self._lingering = False
        self._parked = False
        self._touched = False
        self._paused = False
        self._pongs = b""  # leave together, after the bytes of a read
        self._portion = FIRST
        self._ended = False  # the connection's end has been read
        self._end_received = False  # the peer has ended its direction
        self._end_sent = False  # this end has ended its direction
        self._reset_received = False  # the peer's user or target was reset
        self._unfinished: Unfinished | None = None  # most messages end with a read
        self._unread = 0  # payload bytes that the user's socket has not taken yet
        codec.events = self
        if unsent:
            self._keep(unsent)

    @property
    def owner(self) -> Hashable:
        """The transport that the connection belongs to."""
        return self._owner

    def start(self, consumer: Consumer, *, unread: int = 0, ended: bool = False) -> None:
        """Deliver to ``consumer``, which holds ``unread`` bytes; ``ended``: the peer has ended its direction since."""
        if self.broken:  # for lack of memory, before it has begun
            consumer.over_budget()
            return
        self._consumer = consumer
        self._unread = unread
        self._end_received = ended
        if self._codec.pings:
            self._relay.pings.add(self)
        self._relay.poller.own(self._conn, self._readable, self)

    def ping_if_silent(self) -> None:
        """Send a ping if nothing has moved since the last call, unless bytes wait for the connection."""
        active, self._active = self._active, False
        if not (active or self.blocked):
            self._transmit(self._codec.ping())

    def expect_datagrams(self) -> None:
        """Let messages leave at once, whatever ``nodelay`` is, and only a few of them wait in the kernel."""
        if not self.broken:
            keep_fresh(self._conn)

    def park(self, consumer: Consumer, *, bulk: bool) -> None:
        """Call the only consumer, ``consumer``, when the connection is no longer blocked."""
        del consumer, bulk
        self._parked = True

    def room(self) -> int:
        """Return the size of a frame: there is no window but that of TCP."""
        return self.frame_size

    def send_frames(self, count: int, *, last: bool = False) -> None:
        """Send one message of ``count`` bytes; with ``last`` the end of the direction goes in the same write."""
        if last:
            self._end_sent = True
            self._transmit(b"".join((self._codec.message(count), self._codec.end(self._tell_taken()))))
        else:
            self._transmit(self._codec.message(count))

    def touch(self, consumer: Consumer) -> None:
        """Have the consumer deliver when all bytes of this read have been parsed."""
        del consumer
        self._touched = True

    def consumed(self, count: int) -> None:
        """Count ``count`` bytes as taken by the user's socket."""
        self._unread -= count

    def settle(self) -> None:
        """Stop reading while the user's socket does not take its payload, or resume."""
        if self.broken or self._lingering or self._paused == (self._unread > 0):
            return
        self._paused = not self._paused
        if self._paused:
            self._relay.poller.ignore_readable(self._conn)
        else:
            self._relay.poller.on_readable(self._conn, self._readable)

    def finish(self) -> None:
        """End this direction; towards v0.7.2, which has no half-close, end both."""
        if self.half_close:
            self._send_end()
        elif self._consumer:
            self._consumer.close()

    def drop(self, *, reset: bool) -> None:
        """Release the connection, cleanly or with a reset; a backlog is sent first unless it is reset."""
        try:
            self._let_go(reset=reset)
        except Exception as error:  # noqa: BLE001 - the peer would wait for ever
            self._fail(error)

    def abort(self) -> None:
        """Reset both ends of a connection in an unknown state, even with bytes to send or to read."""
        self._reset()
        if self._consumer:
            self._consumer.abort()

    def over_budget(self) -> None:
        """Reset both ends, because the peer does not read, or leaves messages unfinished."""
        self._reset()
        if self._consumer:
            self._consumer.over_budget()

    def _reset(self) -> None:
        if not self.broken:
            self._release(reset=True)

    def _let_go(self, *, reset: bool) -> None:
        if self.half_close and not reset:
            self._send_end()
        elif self.half_close:
            self._transmit(self._codec.reset_after_end() if self._end_sent else self._codec.reset())
        self._consumer = None
        self._relay.pings.discard(self)
        if self.broken:
            return
        self._relay.poller.ignore_readable(self._conn)
        if self.blocked and not (reset or self._reset_received):
            self._linger()
        else:
            self._release(reset=reset and (not self.half_close or self.blocked))

    def silent_for(self, seconds: float) -> None:
        """Reset the connection if its peer has taken nothing for too long."""
        if seconds >= self._relay.patience.half_close:
            log.debug("reset a tunnel connection: its peer accepted no byte of an answer for %.0f s", seconds)
            self.close(reset=True)

    def close(self, *, reset: bool = False) -> None:
        """Close the connection, cleanly or with a reset."""
        self._release(reset=reset)

    def on_payload(self, piece: memoryview) -> None:
        """Deliver payload."""
        if self._consumer:
            kept = len(piece) - self._consumer.on_data(piece)
            self._unread += kept

    def on_end(self, taken: int) -> None:
        """Pass on the end of the peer's direction."""
        del taken
        if self._consumer and self.half_close:
            self._end_received = True
            self._consumer.on_fin()

    def on_reset(self) -> None:
        """Pass on a reset."""
        if self._consumer and self.half_close:
            self._reset_received = True
            self._consumer.on_reset()

    def on_reset_after_end(self) -> None:
        """Pass on a reset."""
        self.on_reset()

    def on_ping(self, answer: bytes) -> None:
        """Answer a ping after this read."""
        if len(self._pongs) < MAX_PONGS:
            self._pongs += answer

    def on_close(self, answer: bytes) -> None:
        """Answer a close, and end."""
        self._transmit(answer)
        self._closed()

    def on_free(self) -> None:
        """Refuse a message that has no meaning on a connection for a single user."""
        raise TransportError("a record of a reused connection")

    def _readable(self, memory: memoryview = IN) -> None:
        """Read once, into the beginning of IN."""
        try:
            count = self._conn.recv_into(memory, min(self._portion, len(memory)))
        except WOULD_BLOCK:
            return
        except OSError as error:
            self._lost(reason(error))
            return
        if not count:
            self._ended = True
            self._closed()
            return
        self._active = True
        if not self._codec.whole_frames:
            acknowledge(self._conn)
        if count < LEAST:
            self.feed(IN[:count])
        else:
            self._portion = handle(IN[:count], self._portion, self.feed)

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection."""
        error = ""
        try:
            self._codec.feed(data)
        except TransportError as broken:
            error = str(broken)
        if self._touched and self._consumer:
            self._touched = False
            self._consumer.deliver()
        pongs, self._pongs = self._pongs, b""
        if pongs and self.unsent < MAX_PONGS:
            self._transmit(pongs)
        if self._unfinished or self._codec.unfinished:
            self._weigh()
        if error:
            self._relay.complaints.warn("message", f"reset a tunnel connection: {error}")
            self._lost(error)
        else:
            self.settle()

    def _weigh(self) -> None:
        """Count the part of a message that has arrived."""
        if not self.broken:
            self._unfinished = self._unfinished or Unfinished(self._relay.budget, self._owner, self.over_budget)
            self._unfinished.count(self._codec.unfinished)

    def _tell_taken(self) -> int:
        """Return the bytes that the socket has taken, as the peer is about to learn; they matter to lenders only."""
        return 0

    def _send_end(self) -> None:
        if not self._end_sent:
            self._end_sent = True
            self._transmit(self._codec.end(self._tell_taken()))

    def _closed(self) -> None:
        """Act on a close. A peer with half-close ends its direction first; otherwise the connection was cut."""
        if self.half_close and not self._end_received:
            self._lost("the connection was cut")
        else:
            self._over()

    def _over(self) -> None:
        """Act on an orderly end: both directions are over, and payload that has arrived is still delivered."""
        self._relay.poller.ignore_readable(self._conn)
        self._relay.pings.discard(self)
        self._paused = True
        self.half_close = False
        if self._consumer:
            self._consumer.on_fin()

    def _lost(self, why: str) -> None:
        if self.broken:
            return
        self._release()
        if self._consumer:
            self._consumer.on_lost(why)

    def _linger(self) -> None:
        """Stay open without a consumer until the connection has taken all of the answer."""
        self._lingering = True
        self._outlive()

    def _outlive(self) -> None:
        """Be watched without a consumer, while bytes wait for the connection."""
        self._relay.lingering.add(self)
        self._relay.watch(self)

    def _release(self, *, reset: bool = False) -> None:
        self.broken = True
        self._relay.pings.discard(self)
        if self._backlog:
            self._backlog.drop()
            self._backlog = None
        self._finish()
        if not self._consumer:
            self._relay.forget(self)
        if reset or self._ended or not self.half_close:
            release(self._relay.poller, self._conn, reset=reset, drained=self._ended)
        else:  # the peer acts on the last message, which a close with unread bytes could cost it
            linger(self._relay.poller, self._conn)
        self._codec.release()

    def _finish(self) -> None:
        """Count no part of a message any longer."""
        if self._unfinished:
            self._unfinished.count(0)
            self._unfinished = None

    def _cut(self, error: OSError) -> None:
        """End because sending has failed; after a reset, read what had arrived first, but not within another read."""
        if isinstance(error, BROKEN):
            self._relay.loop.call_soon(self._read_rest, reason(error))
        else:  # later bytes could leave, and make a hole
            self._lost(reason(error))

    def _read_rest(self, why: str) -> None:
        try:
            read_rest(self._conn, self._readable, lambda: self.broken or self._paused)
        finally:
            self._lost(why)

    def _drained(self) -> None:
        """Continue, because the connection has taken everything."""
        self.blocked = False
        self._relay.poller.ignore_writable(self._conn)
        if self._lingering:
            self._release()
        else:
            self._unpark()

    def _unpark(self) -> None:
        if self._parked and self._consumer:
            self._parked = False
            self._consumer.unpark()
