"""A socket joined with a framed channel (a smux stream, a WebSocket connection): bytes move both ways.

Payload is read into a shared buffer behind holes for the headers, so that it is copied nowhere: the channel only
writes headers into the holes and sends the whole. What comes from the channel goes to the socket in the pieces
in which it lies in the read buffer.
"""

import logging
import socket
from collections.abc import Callable

from backhaul.net.poller import END_FOLLOWS, FAULT, WOULD_BLOCK, release
from backhaul.net.predicates import at_eof
from backhaul.wire.smux import SmuxError

from .channel import FRAMES_AT, MAX_FRAMES, OUT, Channel
from .engine import Relay
from .outcome import Done, Ending, Outcome
from .traffic import Traffic

log = logging.getLogger("backhaul.tunnel")

_SMALL_PIECE = 4096  # bytes: below this, joining pieces is cheaper than a vector of them
_MOST_PIECES = 1024  # IOV_MAX of Linux: the kernel takes no longer vector


class FramedRelay:
    """Owns the socket and its end of the channel; closes both, exactly once.

    `towards_user` says which end of the tunnel this is: whether the socket is the user's or the target's.
    """

    __slots__ = (
        "_answered",
        "_backlog",
        "_bulk",
        "_channel_ended",
        "_done",
        "_first",
        "_from_sock",
        "_hold",
        "_pieces",
        "_relay",
        "_sock",
        "_sock_ended",
        "_to_sock",
        "_told",
        "_towards_user",
        "channel",
        "closed",
        "given",
        "taken",
    )

    def __init__(
        self,
        relay: Relay,
        channel: Channel,
        sock: socket.socket,
        traffic: Traffic,
        done: Done | None,
        *,
        towards_user: bool,
    ) -> None:
        self.channel = channel
        self._relay = relay
        self.taken = 0  # bytes that came from the socket
        self.given = 0  # bytes that went to the socket
        self.closed = False
        self._sock = sock
        self._done = done
        self._towards_user = towards_user
        self._first = Ending.USER  # who has ended first
        self._from_sock, self._to_sock = traffic if towards_user else (traffic.sent, traffic.received)
        self._bulk = False
        self._pieces: list[memoryview] = []
        self._backlog: bytearray | None = None  # most relays never need one
        self._sock_ended = False
        self._channel_ended = False
        self._told = False  # the socket's peer has been told that the channel has ended
        self._hold: float | None = None  # seconds of silence for which a peer is not told that the socket has ended
        self._answered = False  # the last bytes were the channel's

    @property
    def moved(self) -> int:
        """See Joined."""
        return self.taken + self.given

    def start(self, kept: bytes = b"", *, ended: bool = False, said: int = 0) -> None:
        """Begin: `kept` came on the channel before, not consumed yet, and the peer may have finished it since.

        `said`: bytes of the socket that went into the channel before.
        """
        self._relay.live.add(self)
        if said:
            self._took(said)
        try:
            if kept:
                self._send_kept(kept)
            if ended and not self.closed:
                self.on_fin()
            if not self.closed:
                self._relay.poller.own(self._sock, self.readable, self.reset)
        except Exception as error:  # noqa: BLE001 - as in _attempt
            self._fail(error)

    def read_now(self) -> None:
        """Take what the socket has sent already."""
        self._attempt(self.readable)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do something outside of the socket's own callbacks, which the poller guards."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - as there
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Reset a relay in an unknown state: it would make a hole, or hang."""
        self.reset()
        self._relay.poller.faults.fault(FAULT, error)

    def _send_kept(self, kept: bytes) -> None:
        self._backlog = bytearray(kept)
        self._flush_backlog()
        if self._backlog:
            self._relay.budget.hold(self, len(self._backlog))

    def readable(self) -> None:
        """The socket has bytes, or has ended."""
        if self.channel.blocked:
            self._relay.poller.ignore_readable(self._sock)
            self.channel.park(self, bulk=self._bulk)
        elif room := self.channel.room():
            self._read(min(room, self.channel.burst if self._bulk else self.channel.frame_size))
        else:  # on_window wakes it
            self._relay.poller.ignore_readable(self._sock)

    def unpark(self) -> None:
        """The connection takes bytes again: send some, and listen to the socket again."""
        if not self.closed and not self._sock_ended:
            self._attempt(self._go_on)

    def _go_on(self) -> None:
        self._relay.poller.on_readable(self._sock, self.readable)
        if room := self.channel.room():
            self._read(min(room, self.channel.burst, self.channel.frame_size))

    def on_window(self) -> None:
        """See smux.Sink."""
        if not self.closed and not self._sock_ended:
            self._relay.poller.on_readable(self._sock, self.readable)

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink: collected, and delivered when the whole read has been parsed."""
        if not self._pieces:
            self.channel.touch(self)
        self._pieces.append(view)
        return 0

    def on_fin(self) -> None:
        """See smux.Sink."""
        self._channel_ended = True
        if not self._sock_ended:
            self._first = Ending.TARGET if self._towards_user else Ending.USER
        if not self._pieces and not self._backlog:
            self._channel_over()

    def on_lost(self, reason: SmuxError | str) -> None:
        """See smux.Sink: the connection is gone. What has come of a direction that had ended is still delivered."""
        del reason
        if self._pieces or (self._channel_ended and self._backlog):
            self._relay.poller.ignore_readable(self._sock)
        else:
            self._lost()

    def on_reset(self) -> None:
        """The other end, one of ours, says that its socket was reset."""
        self._end(Ending.RESET_BY_TARGET if self._towards_user else Ending.RESET_BY_USER, tell=False)

    def deliver(self) -> None:
        """Write the pieces that lie in the shared buffer; keep what the socket does not take."""
        if self.closed:
            self._pieces.clear()
            return
        pieces, self._pieces = self._pieces, []
        try:
            if self._backlog:
                self._append(pieces)
            elif (sent := self._write(pieces)) >= 0:
                self._keep(pieces, sent)
            self._after_delivery()
        except Exception as error:  # noqa: BLE001 - the other streams of the session get theirs all the same
            self._fail(error)

    def reset(self) -> None:
        """See Consumer."""
        self._end(Ending.FAILED)

    def over_budget(self) -> None:
        """See Holder."""
        self._end(Ending.SHORT_OF_MEMORY)

    def close(self, *, reset: bool = False) -> None:
        """Close the socket and finish the channel in order, or with a reset because the program stops."""
        self._end(Ending.SHUTDOWN if reset else self._first)

    def silent_for(self, seconds: float) -> None:
        """Nothing has moved for so long on this half-closed channel."""
        if seconds >= self._relay.patience.half_close:
            log.debug("reset a half-closed connection after %.0f s of silence", seconds)
            self._end(Ending.SILENT)
        elif self._hold is not None and seconds >= self._hold:
            self._tell_held()

    def _lost(self) -> None:
        self._end(self._first if self._channel_ended else Ending.LOST)

    def sock_reset(self) -> None:
        """End because the socket was reset."""
        self._end(Ending.RESET_BY_USER if self._towards_user else Ending.RESET_BY_TARGET)

    def _end(self, ending: Ending, *, tell: bool = True) -> None:
        """Close both sides; `tell` a peer of ours of a reset."""
        if self.closed:
            return
        self.closed = True
        reset = not ending.orderly
        if self._backlog:
            self._relay.budget.hold(self, 0)
        self._backlog = None
        release(self._relay.poller, self._sock, reset=reset, drained=self._sock_ended)
        self.channel.drop(reset=reset and tell)
        received, sent = (self.taken, self.given) if self._towards_user else (self.given, self.taken)
        self._relay.finished(self, self._done, Outcome(received, sent, ending))

    def _read(self, limit: int) -> None:
        """Read up to `limit` of the socket's bytes behind holes for their headers, and send them."""
        size = self.channel.frame_size
        try:
            if limit <= size:
                first = FRAMES_AT + self.channel.header_room
                count = self._sock.recv_into(OUT[first : first + limit])
            else:
                count = self._sock.recvmsg_into(_payloads(size, self.channel.header_room, limit))[0]
            last = count > 0 and self._relay.poller.ending and self.channel.ours and at_eof(self._sock)
        except WOULD_BLOCK:
            self.channel.settle()
            return
        except OSError:
            self.sock_reset()
            return
        if not count:
            self._socket_over()
            return
        self._bulk = count >= min(limit, size)
        self._took(count)
        self.channel.send_frames(count, last=last)
        if last and not self.closed:
            self._socket_over(told=True)

    def _took(self, count: int) -> None:
        self.taken += count
        self._answered = False
        self._from_sock.bytes += count

    def _socket_over(self, *, told: bool = False) -> None:
        """The socket's peer has finished; whether the other end may be told, unless it was, depends on who that is."""
        self._sock_ended = True
        if not self._channel_ended:
            self._first = Ending.USER if self._towards_user else Ending.TARGET
        self._relay.poller.on_reset(self._sock, self.sock_reset)
        if self._told or not (self.channel.ours or self._towards_user):
            self.close()  # both directions are over; or the target is done, and the answer with it
            return
        if not self.channel.ours:
            self._hold_back()
        elif not told:
            self.channel.finish()
        if not self.closed:
            self._relay.watch(self)

    def _hold_back(self) -> None:
        self._hold = self._relay.patience.before_end(said=self.taken, answered=self._answered)
        self.channel.settle()
        if not self._hold:
            self._tell_held()

    def _tell_held(self) -> None:
        self._hold = None
        self.channel.finish()

    def _channel_over(self) -> None:
        """Everything from the channel has been written, and it has ended."""
        if self.closed or self._told:
            return
        self._told = True
        if self._sock_ended or not self.channel.ours:
            self.close()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.sock_reset()
            return
        self._relay.watch(self)

    def _write(self, pieces: list[memoryview]) -> int:
        """Return how many bytes the socket took, -1 if it broke."""
        flags = self._flags()
        try:
            if len(pieces) == 1:
                sent = self._sock.send(pieces[0], flags)
            elif len(pieces[0]) < _SMALL_PIECE or len(pieces) > _MOST_PIECES:
                sent = self._sock.send(b"".join(pieces), flags)
            else:
                sent = self._sock.sendmsg(pieces, [], flags)
        except WOULD_BLOCK:
            return 0
        except OSError:
            self.sock_reset()
            return -1
        self._count(sent)
        return sent

    def _flags(self) -> int:
        """Let the end that follows at once share a packet, unless a close tells of it that may meet unread bytes.

        Such a close is a reset, and the kernel throws away what it has not sent yet.
        """
        orderly = self._sock_ended or (self.channel.ours and not self.channel.broken)
        return END_FOLLOWS if self._channel_ended and orderly else 0

    def _keep(self, pieces: list[memoryview], sent: int) -> None:
        if sent < sum(map(len, pieces)):
            self._backlog = bytearray(memoryview(b"".join(pieces))[sent:])
            self._relay.poller.on_writable(self._sock, self._writable)
            self._relay.budget.hold(self, len(self._backlog))

    def _append(self, pieces: list[memoryview]) -> None:
        assert self._backlog is not None  # noqa: S101 - else there would be nothing to append to
        for piece in pieces:
            self._backlog += piece
        self._relay.budget.hold(self, len(self._backlog))

    def _count(self, sent: int) -> None:
        self.given += sent
        self._answered = True
        self._to_sock.bytes += sent
        self.channel.consumed(sent)

    def _writable(self) -> None:
        self._relay.poller.ignore_writable(self._sock)
        self._flush_backlog()
        self._relay.budget.hold(self, len(self._backlog or b""))
        self._after_delivery()

    def _flush_backlog(self) -> None:
        assert self._backlog is not None  # noqa: S101 - a writer is only registered for a backlog
        try:
            sent = self._sock.send(self._backlog)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.sock_reset()
            return
        del self._backlog[:sent]
        if self._backlog:
            self._relay.poller.on_writable(self._sock, self._writable)
        else:
            self._backlog = None
        self._count(sent)
        self.channel.settle()

    def _after_delivery(self) -> None:
        if self.closed or self._backlog:
            return
        if self.channel.broken:
            self._lost()
        elif self._channel_ended:
            self._channel_over()


def _payloads(size: int, header_room: int, limit: int) -> list[memoryview]:
    """Return places for payloads of `size` bytes, `limit` bytes together, each behind a hole."""
    places: list[memoryview] = []
    start = FRAMES_AT + header_room
    while limit and len(places) < MAX_FRAMES:
        length = min(size, limit)
        places.append(OUT[start : start + length])
        start += length + header_room
        limit -= length
    return places
