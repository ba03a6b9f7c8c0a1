"""The records of a session on its connection: in a byte stream, or in WebSocket messages, sealed or in clear.

Messages pass proxies, which may cut them into fragments, mask them anew, and ping both ends.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from backhaul.relay.channel import HEADER_ROOM
from backhaul.relay.record_messages import RecordMessages
from backhaul.security import kinds
from backhaul.security.records import HEADER_SIZE, KIND_SIZE, Opener, RecordError, RecordReader
from backhaul.wire import websocket

MAX_HEADER: Final = HEADER_ROOM
"""Bytes of the longest header, rounded up."""

_MAX_ANSWERS: Final = 1 << 14  # bytes for each read: a flood of pings gets no more

Take: TypeAlias = Callable[[int, memoryview], None]
"""Takes kind and body of a record; the body is valid until the memory is overwritten that the record arrived in."""


class Records(Protocol):
    """Writes the headers of records, and finds the records in received bytes."""

    answers: bytes
    """Bytes to be sent that belong to no record; the caller clears them."""
    closed: bool
    """True once the peer wants the connection to be closed."""
    bare: bool
    """True if there are none: bytes arrive as the session sent them."""

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put the header of a record of ``size`` bytes right before ``at``; return where it begins."""

    def feed(self, data: memoryview) -> None:
        """Take bytes of the connection, in memory that may be overwritten. Raises RecordError or WebSocketError."""


class StreamRecords(RecordReader):
    """Records in a byte stream, after their lengths."""

    __slots__ = ()

    answers = b""
    closed = False
    bare = False

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put the length."""
        start = at - HEADER_SIZE
        buffer[start:at] = size.to_bytes(HEADER_SIZE)
        return start


class NoRecords:
    """Bytes in clear, without anything between them."""

    __slots__ = ("_take",)

    answers = b""
    closed = False
    bare = True

    def __init__(self, take: Take) -> None:
        self._take = take

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put nothing."""
        del buffer, size
        return at

    def feed(self, data: memoryview) -> None:
        """Take bytes as they arrive."""
        self._take(kinds.DATA, data)


class Messages(ABC):
    """Binary WebSocket messages; ``masked`` is true on the client, whose frames have a mask."""

    __slots__ = ("_masked", "_parser", "_take", "answers", "closed")

    bare = False

    def __init__(self, take: Take, *, masked: bool) -> None:
        self._take = take
        self._masked = masked
        self._parser = websocket.FrameParser(self, expect_masked=not masked)
        self.answers = b""
        self.closed = False

    def feed(self, data: memoryview) -> None:
        """Take bytes of the connection, in memory that may be overwritten. Raises RecordError or WebSocketError."""
        self._parser.feed(data)

    def put_header(self, buffer: memoryview, at: int, size: int) -> int:
        """Put the header of a message."""
        return websocket.put_header(buffer, at, size, masked=self._masked)

    @abstractmethod
    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take a piece of a message. Raises RecordError."""

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Answer a ping or a close, which proxies send."""
        if opcode == websocket.PING and len(self.answers) < _MAX_ANSWERS:
            self.answers += websocket.encode(websocket.PONG, payload, masked=self._masked)
        elif opcode == websocket.CLOSE:
            self.answers += websocket.encode(websocket.CLOSE, payload[:2], masked=self._masked)
            self.closed = True


class MessageRecords(Messages):
    """Sealed records, each in a message of its own."""

    __slots__ = ("_collector",)

    def __init__(self, opener: Opener, take: Take, *, masked: bool) -> None:
        super().__init__(take, masked=masked)
        self._collector = RecordMessages(opener)

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take a record once it is complete. Raises RecordError."""
        if plain := self._collector.collect(opcode, piece, message_end=message_end):
            self._take(plain[0], plain[KIND_SIZE:])


class ClearMessages(Messages):
    """Bytes in clear, which messages cut anywhere."""

    __slots__ = ()

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take bytes as they arrive. Raises RecordError."""
        del message_end
        if opcode != websocket.BINARY:
            raise RecordError("a text message in a session")
        if piece:
            self._take(kinds.DATA, piece)
