"""The first records of a connection that resumes a session, one of each end.

The client names the session and the bytes that it has received; the server answers with its own number, or that the
session is gone. Both continue with the bytes after those. On transports with WebSocket messages each record is one.
"""

from struct import Struct
from typing import Final, NamedTuple, Protocol

from backhaul.security import kinds
from backhaul.security.records import KIND_SIZE, TAG_SIZE, FirstRecord, Opener, Record, RecordError, Seals
from backhaul.wire import websocket
from backhaul.wire.messages import IDENTITY_SIZE

_GREETING: Final = Struct(f"!{IDENTITY_SIZE}sQQ")
_ANSWER: Final = Struct("!QQ")
_MAX_BODY: Final = _GREETING.size


class Greeting(NamedTuple):
    """The client's record."""

    identity: bytes
    """The session: that of its first connection."""
    epoch: int
    """The number of this attempt to resume it, from 1. The highest one wins."""
    received: int
    """The bytes of the session that the client has received."""


class Answer(NamedTuple):
    """The server's record, if it has the session."""

    received: int
    """The bytes of the session that the server has received."""
    start: int
    """The number of the first byte that it sends: fewer than the client has received by now, or as many."""


class FirstReader(Protocol):
    """Reads the first record of a connection."""

    def feed(self, data: bytes) -> Record | None:
        """Take more bytes; return the record once it is complete. Raises RecordError or WebSocketError."""


def encode_greeting(greeting: Greeting) -> bytes:
    """Return the body of RESUME."""
    return _GREETING.pack(*greeting)


def read_greeting(record: Record) -> Greeting:
    """Return the greeting in the first record of a connection. Raises RecordError."""
    if record.kind != kinds.RESUME or len(record.body) != _GREETING.size:
        raise RecordError("a connection that resumes a session does not name it")
    return Greeting(*_GREETING.unpack(record.body))


def encode_answer(answer: Answer) -> bytes:
    """Return the body of RESUMED."""
    return _ANSWER.pack(*answer)


def read_answer(record: Record) -> Answer | None:
    """Return the answer in the first record of the server; None if the session is gone. Raises RecordError."""
    if record.kind == kinds.GONE:
        return None
    if record.kind != kinds.RESUMED or len(record.body) != _ANSWER.size:
        raise RecordError("a connection that resumes a session got no answer")
    return Answer(*_ANSWER.unpack(record.body))


def frame(seals: Seals, kind: int, body: bytes, *, messages: bool, masked: bool) -> bytes:
    """Return the first record of this end, for a byte stream or as a WebSocket message."""
    if not messages:
        return seals.sealer.frame(kind, body)
    return websocket.encode(websocket.BINARY, seals.sealer.seal(bytes([kind]) + body), masked=masked)


def first_reader(opener: Opener, *, messages: bool, masked: bool) -> FirstReader:
    """Return the reader of the other end's first record; ``masked`` is true if its WebSocket frames have a mask."""
    return FirstMessage(opener, masked=masked) if messages else FirstRecord(opener, _MAX_BODY)


class FirstMessage:
    """Reads the first WebSocket message, and none of the bytes after it."""

    def __init__(self, opener: Opener, *, masked: bool) -> None:
        self._opener = opener
        self._messages: list[bytes] = []
        reader = websocket.MessageReader(KIND_SIZE + _MAX_BODY + TAG_SIZE, self._on_message, self._on_control)
        self._parser = websocket.FrameParser(reader, expect_masked=masked)

    def feed(self, data: bytes) -> Record | None:
        """Take more bytes; return the record once it is complete. Raises RecordError or WebSocketError."""
        self._parser.feed(memoryview(data))
        if not self._messages:
            return None
        plain = self._opener.open(self._messages[0])
        if not plain:
            raise RecordError("an empty record")
        return Record(plain[0], plain[KIND_SIZE:], self._parser.go_on())

    def _on_message(self, opcode: int, payload: bytes) -> None:
        if opcode != websocket.BINARY:
            raise RecordError("a text message where a record is expected")
        self._messages.append(payload)
        self._parser.stop()  # the bytes after the message belong to the session

    def _on_control(self, opcode: int, payload: bytes) -> None:
        """Ignore pings, which proxies send after a long silence only."""
        del payload
        if opcode == websocket.CLOSE:
            raise RecordError("a proxy in between closed it")
