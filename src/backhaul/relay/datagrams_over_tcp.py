"""Datagrams of one flow in a TCP connection of their own."""

import asyncio
import socket
from collections.abc import Callable

from backhaul.net.buffers import shared_buffer
from backhaul.net.closing import release
from backhaul.net.options import offer_tcp
from backhaul.net.poller import WOULD_BLOCK, Poller
from backhaul.net.udp import QUEUE_BYTES, Counters, DatagramQueue, RoomShare
from backhaul.wire.datagrams import Batch, DelayEstimator, Splitter

# Bytes that the kernel may hold unsent. Further datagrams wait in a queue, where the oldest can still be dropped. On a
# line of 2 Mbit/s they wait for 130 ms; more bytes save no CPU time (measured on a fast line with 128 KiB).
NOTSENT_LOWAT = 1 << 15
# If answers are late, the path is full already. The flow then queues a quarter, so the datagrams that get through are
# fresh. It opens no second connection as v0.7.2 does, because to the target that would be another user.
CONGESTED_QUEUE_BYTES = QUEUE_BYTES // 4
# Bytes that leave the queue at once: once joined they can't be dropped, however old they get on a slow line.
_PIECE = 1 << 15
_IN = shared_buffer(1 << 18)  # shared: every read is handled before the next

Join = Callable[[Batch], bytes]
Received = Callable[[Batch], None]


def keep_fresh(sock: socket.socket) -> None:
    """Set up a connection for datagrams, which leave at once or wait in a queue. Raises OSError for a broken socket."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # batches are joined before, not in the kernel
    offer_tcp(sock, "TCP_NOTSENT_LOWAT", NOTSENT_LOWAT)


class DatagramStream:
    """One end of a flow; owns the connection.

    ``received`` gets the datagrams of the other side; ``ended`` is called when that has closed, at most once and never
    after ``close``.
    """

    __slots__ = (
        "_congested",
        "_counters",
        "_ended",
        "_join",
        "_judge",
        "_loop",
        "_poller",
        "_queue",
        "_received",
        "_sock",
        "_splitter",
        "_unsent",
    )  # fmt: skip

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        join: Join,
        splitter: Splitter,
        counters: Counters,
        *,
        judge: DelayEstimator | None = None,
        room: RoomShare,
    ) -> None:
        """``room`` is shared with other flows."""
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._sock = sock
        self._join = join
        self._splitter = splitter
        self._counters = counters
        self._judge = judge
        self._congested = False
        self._queue = DatagramQueue(counters, room=room)
        self._unsent: bytes | memoryview = b""
        self._received: Received = _ignore
        self._ended: Callable[[], None] | None = None
        keep_fresh(sock)

    @property
    def queued(self) -> int:
        """The bytes that wait after those for which the connection has no room."""
        return self._queue.size

    def start(self, received: Received, ended: Callable[[], None], early: bytes = b"", *, unsent: bytes = b"") -> None:
        """Begin to read; ``early`` was read before, and ``unsent`` is sent before any datagram."""
        if unsent:
            self._unsent = unsent
            self._poller.on_writable(self._sock, self._writable)
        self._received = received
        self._ended = ended
        self._poller.own(self._sock, self._readable, self)
        self._take(memoryview(early))

    def send(self, batch: Batch) -> None:
        """Send all datagrams in one write, or queue them after those that wait."""
        if self._unsent:
            self._queue.send(batch)
        elif batch:
            self._write(self._join(batch))
            if self._unsent:
                self._await_room()

    def close(self) -> None:
        """Close the connection, and drop the datagrams that wait."""
        self._ended = None
        self._received = _ignore
        self._queue.close()
        release(self._poller, self._sock)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            sent = self._sock.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            self._end()
            return
        self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
        self._count_parts()

    def _count_parts(self) -> None:
        """Count the parts of datagrams that wait for their rest to leave or to arrive; without room the flow ends."""
        if not self._queue.keep_beside(len(self._unsent) + len(self._splitter.tail)):
            self._end()

    def _await_room(self) -> None:
        try:
            self._poller.on_writable(self._sock, self._writable)
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2)
            self._end()

    def _writable(self) -> None:
        self._write(self._unsent)
        while self._queue and not self._unsent:
            self._write(self._join(self._queue.take_some(_PIECE)))
        if not self._unsent and self._sock.fileno() >= 0:
            self._poller.ignore_writable(self._sock)

    def _readable(self) -> None:
        try:
            count = self._sock.recv_into(_IN)
        except WOULD_BLOCK:
            return
        except OSError:
            count = 0
        if count:
            self._take(_IN[:count])
        else:
            self._end()

    def _take(self, data: memoryview) -> None:
        batch = self._splitter.feed(data)
        self._count_parts()
        if batch:
            if self._judge:
                self._weigh(self._judge.late(self._splitter.timestamp, int(self._loop.time() * 1000)))
            self._received(batch)

    def _weigh(self, late: bool) -> None:  # noqa: FBT001 - one answer, one argument
        if late != self._congested:
            self._congested = late
            self._counters.congested += late
            self._queue.limit = CONGESTED_QUEUE_BYTES if late else QUEUE_BYTES

    def abort(self) -> None:
        """End the stream, because the program has failed."""
        self._end()

    def _end(self) -> None:
        self._unsent = b""
        if ended := self._ended:
            ended()


def _ignore(batch: Batch) -> None:
    """Drop datagrams that arrive after the end."""
