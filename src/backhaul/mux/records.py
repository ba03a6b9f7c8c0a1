"""The records of a session on its connection: in a byte stream, or in WebSocket messages, sealed or in clear.

Messages pass proxies, which may cut them into fragments, change their masks, and ping both ends.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from backhaul.relay.channel import HEADER_ROOM
from backhaul.relay.codec import MAX_PONGS
from backhaul.relay.record_messages import RecordMessages
from backhaul.security import kinds
from backhaul.security.records import HEADER_SIZE, KIND_SIZE, Opener, RecordError, RecordReader
from backhaul.wire import websocket

MAX_HEADER: Final = HEADER_ROOM
"""Bytes of the longest header, rounded up."""

Take: TypeAlias = Callable[[memoryview], None]
"""Takes bytes of the session, which are valid until the memory is overwritten that they arrived in."""


class Records(Protocol):
    """Writes the headers of records, and finds the records in received bytes."""

    answers: bytes
    """Bytes to be sent that belong to no record; the caller clears them."""
    closed: bool
    """True once the peer wants the connection to be closed."""
    bare: bool
    """True if there are none: bytes arrive as the session sent them."""
    deliver: Take
    """Takes the bytes of the session. It may be replaced between two calls of ``feed``, and within one."""

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a record whose end has not arrived yet."""

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put the header of a record of ``size`` bytes right before ``at``; return where it begins."""

    def feed(self, data: memoryview) -> None:
        """Take bytes of the connection, in memory that may be overwritten. Raises RecordError or WebSocketError."""


class StreamRecords(RecordReader):
    """Records in a byte stream, after their lengths."""

    __slots__ = ("deliver",)

    answers = b""
    closed = False
    bare = False

    def __init__(self, opener: Opener, deliver: Take) -> None:
        super().__init__(opener, self._take)
        self.deliver = deliver

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put the length."""
        start = at - HEADER_SIZE
        buffer[start:at] = size.to_bytes(HEADER_SIZE)
        return start

    def _take(self, kind: int, body: memoryview) -> None:
        _expect_data(kind)
        self.deliver(body)


class NoRecords:
    """Bytes in clear, without anything between them."""

    __slots__ = ("deliver",)

    answers = b""
    closed = False
    bare = True
    unfinished = 0

    def __init__(self, deliver: Take) -> None:
        self.deliver = deliver

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put nothing."""
        del buffer, size
        return at

    def feed(self, data: memoryview) -> None:
        """Take bytes as they arrive."""
        self.deliver(data)


class Messages(ABC):
    """Binary WebSocket messages; ``masked`` is true on the client, whose frames have a mask."""

    __slots__ = ("_masked", "answers", "closed", "deliver", "feed", "put_header")

    bare = False

    def __init__(self, deliver: Take, *, masked: bool) -> None:
        self.deliver = deliver
        self._masked = masked
        self.answers = b""
        self.closed = False
        # Each read and each write calls these, so there is no method around them.
        self.feed: Callable[[memoryview], None] = websocket.FrameParser(self, expect_masked=not masked).feed
        self.put_header: Callable[[memoryview, int, int], int] = functools.partial(websocket.put_header, masked=masked)

    @property
    def unfinished(self) -> int:
        """None: pieces are delivered as they arrive."""
        return 0

    @abstractmethod
    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take a piece of a message. Raises RecordError."""

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer a ping or the first close, which proxies send."""
        if opcode == websocket.PING and len(self.answers) < MAX_PONGS:
            self.answers += websocket.encode(websocket.PONG, payload, masked=self._masked)
        elif opcode == websocket.CLOSE and not self.closed:
            self.answers += websocket.encode(websocket.CLOSE, payload[:2], masked=self._masked)
            self.closed = True


class MessageRecords(Messages):
    """Sealed records, each in a message of its own."""

    __slots__ = ("_collector",)

    def __init__(self, opener: Opener, deliver: Take, *, masked: bool) -> None:
        super().__init__(deliver, masked=masked)
        self._collector = RecordMessages(opener)

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a record whose end has not arrived yet."""
        return self._collector.unfinished

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take a record once it is complete. Raises RecordError."""
        if plain := self._collector.collect(opcode, piece, message_end=message_end):
            _expect_data(plain[0])
            self.deliver(plain[KIND_SIZE:])


class ClearMessages(Messages):
    """Bytes in clear, which messages cut anywhere."""

    __slots__ = ()

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take bytes as they arrive. Raises RecordError."""
        del message_end
        if opcode != websocket.BINARY:
            raise RecordError("a text message in a session")
        if piece:
            self.deliver(piece)


def _expect_data(kind: int) -> None:
    if kind != kinds.DATA:
        raise RecordError(f"a record of kind {kind} in a session")
