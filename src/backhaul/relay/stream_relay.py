"""A socket joined with a smux stream: bytes move both ways until both directions have ended."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from backhaul.wire.smux import HEADER_SIZE, SmuxError, Stream

from .link import CONTROL_ROOM, READ_SIZE, Link
from .pair import HOLD_BACK, SILENCE_LIMIT, Traffic
from .poller import WOULD_BLOCK, release

if TYPE_CHECKING:
    from .pair import Relay

_BURST = 8  # frames per wake-up of a stream that has more than one frame to say
_SMALL_PIECE = 4096  # bytes: below this, joining pieces is cheaper than a vector of them
_OUT = bytearray(CONTROL_ROOM + _BURST * (HEADER_SIZE + READ_SIZE // 4))  # shared; a frame has at most 64 KiB
_OUT_VIEW = memoryview(_OUT)


class StreamRelay:
    """Owns the socket and its end of the stream; closes both, exactly once.

    `towards_user` says which end of the tunnel this is: whether the socket is the user's or the target's.
    """

    __slots__ = (
        "_backlog",
        "_bulk",
        "_done",
        "_from_sock",
        "_held",
        "_pieces",
        "_sock",
        "_sock_ended",
        "_stream_ended",
        "_to_sock",
        "_told",
        "_towards_user",
        "closed",
        "link",
        "moved",
        "stream",
    )

    def __init__(
        self,
        link: Link,
        stream: Stream,
        sock: socket.socket,
        traffic: Traffic,
        done: Callable[[], None] | None,
        *,
        towards_user: bool,
    ) -> None:
        self.link = link
        self.stream = stream
        self.moved = 0  # bytes, both ways together
        self.closed = False
        self._sock = sock
        self._done = done
        self._towards_user = towards_user
        self._from_sock, self._to_sock = traffic if towards_user else (traffic.sent, traffic.received)
        self._bulk = False
        self._pieces: list[memoryview] = []
        self._backlog = bytearray()
        self._sock_ended = False
        self._stream_ended = False
        self._told = False  # the socket's peer has been told that the stream has ended
        self._held = False  # the socket's end is held back from a peer that would drop the answer
        stream.sink = self

    @property
    def _relay(self) -> "Relay":
        return self.link.relay

    def start(self, kept: bytes = b"", *, ended: bool = False) -> None:
        """Begin: `kept` came on the stream before, not consumed yet, and the peer may have finished it since."""
        self._relay.live.add(self)
        if kept:
            self._backlog += kept
            self._flush_backlog()
        if ended and not self.closed:
            self.on_fin()
        if not self.closed:
            self._relay.poller.on_readable(self._sock, self.readable)
            self.readable()  # what the user has said already leaves with the opening of the stream

    def readable(self) -> None:
        """The socket has bytes, or has ended."""
        if self.link.blocked:
            self._relay.poller.ignore_readable(self._sock)
            self.link.parked.append(self)
        elif room := self.stream.sendable():
            self._read(room, _BURST if self._bulk else 1)
        else:  # on_window wakes it
            self._relay.poller.ignore_readable(self._sock)

    def unpark(self) -> None:
        """The link takes bytes again: send one frame, and listen to the socket again."""
        if self.closed or self._sock_ended:
            return
        self._relay.poller.on_readable(self._sock, self.readable)
        if room := self.stream.sendable():
            self._read(room, 1)

    def on_window(self) -> None:
        """See smux.Sink."""
        if not self.closed and not self._sock_ended:
            self._relay.poller.on_readable(self._sock, self.readable)

    def on_data(self, view: memoryview) -> int:
        """See smux.Sink: collected, and delivered when the whole read has been parsed."""
        if not self._pieces:
            self.link.touched.append(self)
        self._pieces.append(view)
        return 0

    def on_fin(self) -> None:
        """See smux.Sink."""
        self._stream_ended = True
        if not self._pieces and not self._backlog:
            self._stream_over()

    def on_lost(self, reason: SmuxError) -> None:
        """See smux.Sink."""
        del reason
        if self._pieces or (self._stream_ended and self._backlog):  # what has come is still delivered
            self._relay.poller.ignore_readable(self._sock)
        else:
            self.close(reset=not self._stream_ended)

    def on_reset(self) -> None:
        """The other end, one of ours, says that its socket was reset."""
        self._shut(reset=True)

    def deliver(self) -> None:
        """Write the pieces that lie in the shared buffer; keep what the socket does not take."""
        if self.closed:
            self._pieces.clear()
            return
        pieces, self._pieces = self._pieces, []
        if self._backlog:
            for piece in pieces:
                self._backlog += piece
        elif (sent := self._write(pieces)) >= 0:
            self._keep(pieces, sent)
        self._after_delivery()

    def close(self, *, reset: bool = False) -> None:
        """Close the socket and finish the stream, telling a peer of ours that it was a reset."""
        if self.closed:
            return
        if reset and self.link.ours and not self.link.closed:
            self.link.session.nop(self.stream.id)
        self._shut(reset=reset)

    def silent_for(self, seconds: float) -> None:
        """Nothing has moved for so long on this half-closed stream."""
        if seconds >= SILENCE_LIMIT:
            self.close()
        elif seconds >= HOLD_BACK and self._held:
            self._held = False
            self.stream.finish()
            self.link.flush()

    def _shut(self, *, reset: bool) -> None:
        if self.closed:
            return
        self.closed = True
        self.stream.finish()
        self.stream.abandon()
        release(self._relay.poller, self._sock, reset=reset)
        self._backlog.clear()
        if not self.link.feeding:
            self.link.settle()
        self._relay.forget(self)
        self.link.stream_closed()
        if self._done:
            self._done()

    def _read(self, room: int, frames: int) -> None:
        """Read up to `frames` frames of the socket's bytes behind holes for their headers, and send them."""
        size = self.stream.max_frame
        try:
            if frames == 1:
                first = CONTROL_ROOM + HEADER_SIZE
                count = self._sock.recv_into(_OUT_VIEW[first : first + min(size, room)])
            else:
                count = self._sock.recvmsg_into(_holes(size, room, frames))[0]
        except WOULD_BLOCK:
            self.link.flush()
            return
        except OSError:
            self.close(reset=True)
            return
        if count:
            self._bulk = count >= size
            self._send(count, size)
        else:
            self._socket_over()

    def _send(self, count: int, size: int) -> None:
        self.moved += count
        self._from_sock.bytes += count
        start = CONTROL_ROOM
        control = self.link.session.take_control()
        if len(control) > CONTROL_ROOM:
            self.link.transmit(control)
        elif control:
            start -= len(control)
            _OUT[start:CONTROL_ROOM] = control
        end = CONTROL_ROOM
        while count:
            length = min(count, size)
            self.stream.put_header(_OUT, end, length)
            end += HEADER_SIZE + length
            count -= length
        self.link.transmit(_OUT_VIEW[start:end])

    def _socket_over(self) -> None:
        """The socket's peer has finished; whether the stream may be told depends on who is at its other end."""
        self._sock_ended = True
        self._relay.poller.ignore_readable(self._sock)
        if self._stream_ended and self._told:
            self.close()
        elif self.link.ours:
            self.stream.finish()
            self.link.flush()
            self._relay.watch(self)
        elif self._towards_user:
            self._held = True
            self.link.flush()
            self._relay.watch(self)
        else:  # the target is done, and the answer with it
            self.close()

    def _stream_over(self) -> None:
        """Everything from the stream has been written, and it has ended."""
        if self.closed or self._told:
            return
        self._told = True
        if self._sock_ended or not self.link.ours:
            self.close()
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(reset=True)
            return
        self._relay.watch(self)

    def _write(self, pieces: list[memoryview]) -> int:
        """Return how many bytes the socket took, -1 if it broke."""
        try:
            if len(pieces) == 1:
                sent = self._sock.send(pieces[0])
            elif len(pieces[0]) < _SMALL_PIECE:
                sent = self._sock.send(b"".join(pieces))
            else:
                sent = self._sock.sendmsg(pieces)
        except WOULD_BLOCK:
            return 0
        except OSError:
            self.close(reset=True)
            return -1
        self._count(sent)
        return sent

    def _keep(self, pieces: list[memoryview], sent: int) -> None:
        if sent < sum(map(len, pieces)):
            self._backlog += memoryview(b"".join(pieces))[sent:]
            self._relay.poller.on_writable(self._sock, self._writable)

    def _count(self, sent: int) -> None:
        self.moved += sent
        self._to_sock.bytes += sent
        self.stream.consumed(sent)

    def _writable(self) -> None:
        self._relay.poller.ignore_writable(self._sock)
        self._flush_backlog()
        self._after_delivery()

    def _flush_backlog(self) -> None:
        try:
            sent = self._sock.send(self._backlog)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self.close(reset=True)
            return
        del self._backlog[:sent]
        self._count(sent)
        if self._backlog:
            self._relay.poller.on_writable(self._sock, self._writable)
        self.link.settle()

    def _after_delivery(self) -> None:
        if self.closed or self._backlog:
            return
        if self.link.session.error:
            self.close(reset=not self._stream_ended)
        elif self._stream_ended:
            self._stream_over()


def _holes(size: int, room: int, frames: int) -> list[memoryview]:
    """Return places for `frames` payloads of `size` bytes, `room` bytes together, each behind room for a header."""
    holes = []
    start = CONTROL_ROOM + HEADER_SIZE
    while frames and room:
        length = min(size, room)
        holes.append(_OUT_VIEW[start : start + length])
        start += length + HEADER_SIZE
        room -= length
        frames -= 1
    return holes
