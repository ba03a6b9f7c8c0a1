"""One direction between two stream sockets, which holds at most one read of bytes.

Small reads are copied, with two system calls and no pipe. A read that fills the copy buffer switches the direction to
splice, where the kernel moves the bytes from socket to socket through a pipe.
"""

import os
import socket
import ssl
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from backhaul.net.buffers import shared_buffer
from backhaul.net.pipes import PIPE_SIZE, SPLICE_FLAGS, Pipe
from backhaul.net.poller import END_FOLLOWS, WOULD_BLOCK
from backhaul.net.predicates import acknowledge, at_eof

from .half_close import Side, State
from .outcome import Ending
from .traffic import Meter

if TYPE_CHECKING:
    from .resources import DirectionResources

COPY_SIZE = 1 << 16  # bytes per copied read; a full read means bulk, for which splice is cheaper
_BUFFER = shared_buffer(COPY_SIZE)  # shared: bytes that can't be written at once are copied out


class Owner(Protocol):
    """The pair that a direction belongs to."""

    closed: bool
    state: State
    latest: "Direction"  # the one in which bytes moved last
    owner: Hashable  # the transport that carries it

    @property
    def relay(self) -> "DirectionResources":
        """The parts that all pairs share."""

    def told_at_once(self) -> bool:
        """Return whether the end of a direction may share a packet with its last bytes."""

    def direction_ended(self, direction: "Direction") -> None:
        """Note that the source of ``direction`` has ended; called again when its last bytes have been written."""

    def fail(self, culprit: socket.socket, error: OSError) -> None:
        """Close both sockets because one is broken."""

    def abort(self) -> None:
        """Close both sockets because the program has failed."""

    def end(self, ending: Ending) -> None:
        """Close both sockets."""


class Direction:
    """Moves bytes from ``source`` to ``sink``; the pair owns both sockets."""

    __slots__ = (
        "_backlog",
        "_bulk",
        "_hasty",
        "_in_pipe",
        "_pipe",
        "_plain",
        "meter",
        "moved",
        "pair",
        "side",
        "sink",
        "source",
    )

    def __init__(
        self, pair: Owner, side: Side, source: socket.socket, sink: socket.socket, meter: Meter, *, hasty: bool
    ) -> None:
        """``hasty``: acknowledge each read at once."""
        self.pair = pair
        self.side = side
        self.source = source
        self.sink = sink
        self.meter = meter
        self.moved = 0
        self._backlog: bytes | memoryview = b""
        self._pipe: Pipe | None = None
        self._in_pipe = 0
        self._bulk = False
        self._hasty = hasty
        # Below TLS the kernel would move the encrypted bytes.
        self._plain = not (isinstance(source, ssl.SSLSocket) or isinstance(sink, ssl.SSLSocket))

    def start(self, preface: bytes) -> None:
        """Send ``preface`` to the sink, then the bytes of the source."""
        if preface:
            self._write(preface)
        if self.pair.closed:
            return
        if self.stalled:  # the source is not read yet, but the other direction may write to it
            self.pair.relay.poller.guard(self.source, self.pair)
        else:
            self.pair.relay.poller.own(self.source, self.readable, self.pair)

    @property
    def owner(self) -> Hashable:
        """The transport that carries the pair."""
        return self.pair.owner

    @property
    def most(self) -> int:
        """The most bytes to copy at once."""
        return COPY_SIZE

    @property
    def stalled(self) -> bool:
        """True while bytes wait for the sink."""
        return bool(self._backlog) or self._in_pipe > 0

    def readable(self) -> None:
        """Read once from the source, so that no pair starves the others."""
        if self._bulk and (pipe := self.pair.relay.pipes.take()):
            self._pipe = pipe
            self._splice_in(pipe)
        else:
            self._copy()

    def writable(self) -> None:
        """Write the bytes that wait for the sink; when it has taken all of them, read again."""
        if self._backlog:
            self._send(self._backlog)
            self.pair.relay.budget.hold(self, len(self._backlog), self.meter)
        elif self._in_pipe and self._pipe:
            self._splice_out(self._pipe)
        if not self.stalled and not self.pair.closed:
            self.pair.relay.poller.ignore_writable(self.sink)
            self._listen()

    def release(self) -> None:
        """Drop the bytes that wait, because the pair closes."""
        if self._backlog:
            self._backlog = b""
            self.pair.relay.budget.hold(self, 0)
        if self._pipe:
            self.pair.relay.pipes.discard(self._pipe)
            self._pipe = None
            self._in_pipe = 0

    def count(self, count: int) -> None:
        """Count bytes of the source."""
        self.moved += count
        self.meter.bytes += count
        self.pair.latest = self

    def over_budget(self) -> None:
        """Reset the pair, whose sink does not read."""
        self.pair.end(Ending.SHORT_OF_MEMORY)

    def _listen(self) -> None:
        if self.side in self.pair.state.ended:
            self.pair.direction_ended(self)
        else:
            self.pair.relay.poller.on_readable(self.source, self.readable)

    def _copy(self) -> None:
        relay = self.pair.relay
        try:
            count = self.source.recv_into(_BUFFER, self.most)
            last = relay.poller.ending and count > 0 and self._plain and at_eof(self.source)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self.pair.fail(self.source, error)
            return
        if not count:
            self._end()
            return
        if self._hasty:
            acknowledge(self.source)
        self.count(count)
        self._bulk = count == COPY_SIZE and self._plain and relay.splicing
        self._write(_BUFFER[:count], END_FOLLOWS if last and self.pair.told_at_once() else 0)
        if last and not self.pair.closed:
            self._end()

    def _write(self, data: bytes | memoryview, flags: int = 0) -> None:
        self._send(data, flags)
        if self._backlog:
            self._backlog = bytes(self._backlog)  # the shared buffer is about to be reused
            self.pair.relay.budget.hold(self, len(self._backlog), self.meter)
            self._stall()

    def _send(self, data: bytes | memoryview, flags: int = 0) -> None:
        try:
            sent = self.sink.send(data, flags)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self.pair.fail(self.sink, error)
            return
        self._backlog = data[sent:] if sent < len(data) else b""

    def _splice_in(self, pipe: Pipe) -> None:
        try:
            count = self.pair.relay.pipes.fill(pipe, self.source, PIPE_SIZE)
        except WOULD_BLOCK:
            self._return_pipe(pipe)
            self._bulk = False  # the kernel splices nothing from urgent data on
            return
        except OSError as error:
            self.pair.fail(self.source, error)
            return
        if not count:
            self._return_pipe(pipe)
            self._end()
            return
        if self._hasty:
            acknowledge(self.source)
        self._in_pipe = count
        self._bulk = count >= COPY_SIZE
        self.count(count)
        self._splice_out(pipe)
        if self._in_pipe:
            self._stall()

    def _splice_out(self, pipe: Pipe) -> None:
        try:
            self._in_pipe -= os.splice(pipe.reader, self.sink.fileno(), self._in_pipe, flags=SPLICE_FLAGS)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self.pair.fail(self.sink, error)
            return
        if not self._in_pipe:
            self._return_pipe(pipe)

    def _return_pipe(self, pipe: Pipe) -> None:
        self._pipe = None
        self.pair.relay.pipes.give(pipe)

    def _stall(self) -> None:
        if self.pair.closed:
            return
        self.pair.relay.poller.ignore_readable(self.source)
        self.pair.relay.poller.on_writable(self.sink, self.writable)

    def _reset(self) -> None:
        self.pair.fail(self.source, OSError(self.source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), ""))

    def _end(self) -> None:
        self.pair.direction_ended(self)
        if not self.pair.closed:
            self.pair.relay.poller.on_reset(self.source, self._reset)
