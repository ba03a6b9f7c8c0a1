"""A socket joined with a channel of blocks, between which the kernel moves bulk.

Small reads are copied, as in any framed relay. A read that fills a block means bulk: the next bytes go into a pipe. The
header of their block announces them and all bytes that arrived after them, which the socket then owes to the block.
The other end splices as many bytes as the header has announced, and reads the next header alone.
"""

import os
import socket
from typing import TYPE_CHECKING, Final

from backhaul.errors import reason
from backhaul.net.pipes import PIPE_SIZE, SPLICE_FLAGS, Pipe, PipePool
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.predicates import waiting_bytes
from backhaul.wire.blocks import HEADER_SIZE, MAX_PAYLOAD, payload_header

from .channel import FRAMES_AT, OUT
from .clear_codec import ClearCodec
from .direction import COPY_SIZE
from .framed import FramedRelay
from .lent_channel import ClientChannel, Lender, LentChannel, ServerChannel
from .message_channel import IN
from .outcome import Ending
from .traffic import Traffic

if TYPE_CHECKING:
    from .resources import SplicedResources

_HEADER: Final = IN[:HEADER_SIZE]
_PAYLOAD_FOLLOWS: Final = getattr(socket, "MSG_MORE", 0)


class Load:
    """Bytes in a pipe on their way to a socket; owns the pipe until it is empty."""

    __slots__ = ("_pipe", "_pool", "left")

    def __init__(self, pool: PipePool, pipe: Pipe, count: int) -> None:
        self._pool = pool
        self._pipe = pipe
        self.left = count

    def pour(self, sock: socket.socket, most: int = PIPE_SIZE) -> int:
        """Move up to ``most`` bytes to ``sock``; return their number, 0 if it takes none now. Raises OSError."""
        try:
            moved = os.splice(self._pipe.reader, sock.fileno(), min(self.left, most), flags=SPLICE_FLAGS)
        except WOULD_BLOCK:
            return 0
        self.left -= moved
        if not self.left:
            self._pool.give(self._pipe)
        return moved

    def drop(self) -> None:
        """Discard the remaining bytes."""
        if self.left:
            self.left = 0
            self._pool.discard(self._pipe)


_NOTHING: Final = Load(PipePool(), Pipe(-1, -1), 0)


def _fill(pool: PipePool, pipe: Pipe, sock: socket.socket, most: int) -> Load:
    """Move up to ``most`` bytes of ``sock`` into ``pipe``. At the end of the stream it stays empty. Raises OSError."""
    try:
        count = pool.fill(pipe, sock, most)
    except OSError:
        pool.give(pipe)
        raise
    if not count:
        pool.give(pipe)
    return Load(pool, pipe, count)


class SplicingChannel(LentChannel):
    """A connection of blocks, whose large ones the kernel moves."""

    __slots__ = ("_bulk", "_load", "owed")
    _relay: "SplicedResources"
    _codec: ClearCodec
    _consumer: "SplicedRelay | None"

    def __init__(
        self, relay: "SplicedResources", conn: socket.socket, codec: ClearCodec, lender: Lender, unsent: bytes = b""
    ) -> None:
        self._bulk = False  # blocks are large, and arrive faster than they are read
        self._load = _NOTHING  # the part of a block that is being sent
        self.owed = 0
        """Bytes that the present block still lacks; nothing else can be sent before them."""
        super().__init__(relay, conn, codec, lender, unsent)

    def send_block(self, load: Load, behind: int) -> None:
        """Send the first bytes of a block of ``behind`` bytes more; takes over the load."""
        self._transmit(payload_header(load.left + behind), _PAYLOAD_FOLLOWS)
        self.owed = load.left + behind
        self.send_load(load)

    def send_copy(self, piece: memoryview) -> None:
        """Send owed bytes that could not be spliced."""
        self.owed -= len(piece)
        super()._transmit(piece)

    def send_load(self, load: Load) -> None:
        """Send owed bytes; takes over the load."""
        if self.broken:
            load.drop()
            return
        self.owed -= load.left
        self._load = load
        if not self.blocked:
            self._pour()
            if self._load.left and not self.broken:
                self.blocked = True
                self._relay.poller.on_writable(self._conn, self._writable)

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection."""
        super().feed(data)
        self._bulk = len(data) >= COPY_SIZE and self._codec.announced >= COPY_SIZE and self._relay.splicing

    @property
    def moved(self) -> int:
        """A number that rises with each byte that the peer acknowledges while the channel lingers."""
        return super().moved - self._load.left

    def _readable(self, memory: memoryview = IN) -> None:
        if not self._bulk:
            super()._readable(memory)
            return
        if not self._codec.left:
            super()._readable(_HEADER)
        if not (self.broken or self._ended or self._unread):  # bytes that arrived with a header go first
            self._read_block(memory)

    def _read_block(self, memory: memoryview) -> None:
        """Read the rest of a large block, and nothing after it."""
        left = self._codec.left
        if left >= COPY_SIZE and self._consumer and (pipe := self._relay.pipes.take()):
            self._splice(self._consumer, pipe, left)
        elif left and self._codec.announced >= COPY_SIZE:
            super()._readable(memory[:left])
            self._bulk = not self._codec.left
        else:
            self._bulk = False
            super()._readable(memory)

    def _splice(self, consumer: "SplicedRelay", pipe: Pipe, left: int) -> None:
        try:
            load = _fill(self._relay.pipes, pipe, self._conn, min(left, PIPE_SIZE))
        except WOULD_BLOCK:
            self._bulk = False  # the kernel splices nothing from urgent data on, and perhaps nothing at all
            return
        except OSError as error:
            self._lost(reason(error))
            return
        count = load.left
        if not count:
            self._ended = True
            self._closed()
            return
        self._codec.skip(count)
        self._bulk = count >= COPY_SIZE or count == left
        self._unread += count
        consumer.on_load(load)
        self.settle()

    def _transmit(self, data: memoryview | bytes, flags: int = 0) -> None:
        if not (self.owed or self._load.left):  # otherwise the user is reset, and the connection with it
            super()._transmit(data, flags)

    def _pour(self) -> None:
        try:
            self._load.pour(self._conn)
        except OSError as error:
            self._cut(error)

    def _writable(self) -> None:
        if self._backlog:
            super()._writable()
        else:
            self._drained()

    def _drained(self) -> None:
        if self._load.left:
            self._pour()
        if not (self.broken or self._load.left):
            super()._drained()

    def _release(self, *, reset: bool = False) -> None:
        self._load.drop()
        super()._release(reset=reset)


class SplicedRelay(FramedRelay):
    """A user's or target's socket, joined with a channel of blocks."""

    __slots__ = ("_load",)
    _relay: "SplicedResources"
    channel: SplicingChannel

    def _prepare(self, traffic: Traffic) -> None:
        super()._prepare(traffic)
        self._load = _NOTHING  # payload that waits for the socket

    def on_load(self, load: Load) -> None:
        """Write payload; takes over the load."""
        self._load = load
        self._pour()
        if self._load.left:
            self._relay.poller.on_writable(self._sock, self._writable)

    def end(self, ending: Ending, *, tell: bool = True) -> None:
        """Close both sides; ``tell`` the peer of a reset. Later calls do nothing."""
        self._load.drop()
        super().end(ending, tell=tell)

    def _read(self, limit: int) -> None:
        owed = self.channel.owed
        if (self._bulk or owed) and self._relay.splicing and (pipe := self._relay.pipes.take()):
            self._splice(pipe, owed, limit)
        elif owed:
            self._copy(min(limit, owed))
        else:
            super()._read(limit)

    def _splice(self, pipe: Pipe, owed: int, limit: int) -> None:
        try:
            load = _fill(self._relay.pipes, pipe, self._sock, min(owed or PIPE_SIZE, PIPE_SIZE))
        except WOULD_BLOCK:
            self._bulk = False  # the kernel splices nothing from urgent data on
            if owed:
                self._copy(min(limit, owed))
            return
        except OSError:
            self.sock_reset()
            return
        if not load.left:
            self.sock_reset() if owed else self._socket_over()
            return
        self._bulk = load.left >= COPY_SIZE
        try:
            self._took(load.left)
        except BaseException:  # the pipe has no other owner yet
            load.drop()
            raise
        if owed:
            self.channel.send_load(load)
        else:
            self.channel.send_block(load, min(waiting_bytes(self._sock), MAX_PAYLOAD - load.left) if self._bulk else 0)

    def _copy(self, limit: int) -> None:
        """Copy owed bytes, for lack of a pipe, or because the kernel splices none of them."""
        piece = OUT[FRAMES_AT : FRAMES_AT + limit]
        try:
            count = self._sock.recv_into(piece)
        except WOULD_BLOCK:
            return
        except OSError:
            count = 0
        if not count:
            self.sock_reset()
            return
        self._took(count)
        self.channel.send_copy(piece[:count])

    def _pour(self) -> None:
        try:
            self._count(self._take_from(self._load))
        except OSError:
            self.sock_reset()

    def _take_from(self, load: Load) -> int:
        """Return how many bytes the socket took. Raises OSError."""
        return load.pour(self._sock)

    def _writable(self) -> None:
        if not self._load.left:
            super()._writable()
            return
        self._pour()
        if self.closed or self._load.left:
            return
        self._relay.poller.ignore_writable(self._sock)
        self.channel.settle()
        self._after_delivery()


class SplicedClient(ClientChannel, SplicingChannel):
    """The client's end of a connection of blocks."""

    __slots__ = ()


class SplicedServer(ServerChannel, SplicingChannel):
    """The server's end of a connection of blocks."""

    __slots__ = ()
