"""Users' bytes in sealed records. Importing this module loads ``cryptography``, which takes 10 MB."""

from typing import Final

from backhaul.security import kinds
from backhaul.security.records import (
    HEADER_SIZE,
    KIND_SIZE,
    OVERHEAD,
    TAG_SIZE,
    Opener,
    RecordError,
    RecordReader,
    Sealer,
    Seals,
)
from backhaul.wire import websocket
from backhaul.wire.peer import Peer

from .channel import FRAMES_AT, OUT
from .codec import MESSAGE_SIZE, NOBODY, Events
from .record_messages import RecordMessages
from .websocket_codec import WebSocketCodec, WebSocketFraming

_MAX_DIGITS: Final = 20  # of 64 bits


class RecordCodec:
    """Records in a byte stream."""

    __slots__ = ("_reader", "_sealer", "events")
    header_room = HEADER_SIZE + KIND_SIZE
    frame_size = MESSAGE_SIZE - OVERHEAD
    half_close = True
    pings = False  # the kernel probes the connection
    whole_frames = True

    def __init__(self, sealer: Sealer, opener: Opener) -> None:
        self._sealer = sealer
        self._reader = RecordReader(opener, self._take)
        self.events: Events = NOBODY

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a record whose end has not arrived yet."""
        return self._reader.unfinished

    def message(self, count: int) -> memoryview:
        """Seal ``count`` bytes in OUT, and return their record."""
        record = OUT[FRAMES_AT : FRAMES_AT + OVERHEAD + count]
        self._sealer.frame_in_place(kinds.DATA, record)
        return record

    def end(self, taken: int) -> bytes:
        """Return the end of this direction."""
        return self._sealer.frame(kinds.END, kinds.put_taken(taken))

    def reset(self) -> bytes:
        """Return a reset."""
        return self._sealer.frame(kinds.RESET)

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""
        return self._sealer.frame(kinds.RESET_AFTER_END)

    def ping(self) -> bytes:
        """Return a ping."""
        return self._sealer.frame(kinds.PING)

    def free(self) -> bytes:
        """Return the message that gives the connection back."""
        return self._sealer.frame(kinds.FREE)

    @property
    def between_messages(self) -> bool:
        """True if no part of another record has arrived."""
        return self._reader.between_records

    def stop(self) -> None:
        """Stop opening records, because later ones concern the next user."""
        self._reader.stop()

    def rest(self) -> bytes:
        """Return the bytes that have arrived since the stop."""
        return self._reader.rest()

    def feed(self, data: memoryview) -> None:
        """Open the records of the peer. Raises RecordError."""
        self._reader.feed(data)

    def release(self) -> None:
        """Stop reporting."""
        self.events = NOBODY
        self._reader.take = _ignore

    def _take(self, kind: int, body: memoryview) -> None:
        _report(self.events, kind, body)


class SealedMessageCodec(WebSocketFraming):
    """Records in WebSocket messages, each in one. Pings and closes are in clear, because proxies send some, too."""

    __slots__ = ("_collector", "_sealer", "pings")
    header_room = websocket.MAX_HEADER + KIND_SIZE
    frame_size = MESSAGE_SIZE - websocket.MAX_HEADER - KIND_SIZE - TAG_SIZE
    half_close = True
    whole_frames = True

    def __init__(self, sealer: Sealer, opener: Opener, parser: websocket.FrameParser, *, masked: bool) -> None:
        super().__init__(parser, masked=masked)
        self._sealer = sealer
        self._collector = RecordMessages(opener)
        self.pings = not masked

    @property
    def unfinished(self) -> int:
        """Bytes that are kept of a record whose end has not arrived yet."""
        return self._collector.unfinished

    def message(self, count: int) -> memoryview:
        """Seal ``count`` bytes in OUT, and return their message."""
        at = FRAMES_AT + websocket.MAX_HEADER
        end = at + KIND_SIZE + count + TAG_SIZE
        self._sealer.seal_in_place(kinds.DATA, OUT[at:end])
        return OUT[websocket.put_header(OUT, at, end - at, masked=self._masked) : end]

    def end(self, taken: int) -> bytes:
        """Return the end of this direction."""
        return self._record(kinds.END, kinds.put_taken(taken))

    def reset(self) -> bytes:
        """Return a reset."""
        return self._record(kinds.RESET)

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""
        return self._record(kinds.RESET_AFTER_END)

    def free(self) -> bytes:
        """Return the message that gives the connection back."""
        return self._record(kinds.FREE)

    def _record(self, kind: int, body: bytes = b"") -> bytes:
        return _in_message(self._sealer, kind, body, masked=self._masked)

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Report a record once it is complete. Raises RecordError."""
        if plain := self._collector.collect(opcode, piece, message_end=message_end):
            _report(self.events, plain[0], plain[KIND_SIZE:])


class LentWebSocketCodec(WebSocketCodec):
    """Messages in clear on a connection that serves one user after the other.

    The end of a direction is a text message with a number, and a reset after it one without. The only other message
    after an end is FREE, a record.
    """

    __slots__ = ("_seals",)

    def __init__(self, seals: Seals, parser: websocket.FrameParser, peer: Peer, *, masked: bool) -> None:
        super().__init__(parser, peer, masked=masked)
        self._seals = seals

    def end(self, taken: int) -> bytes:
        """Return the end of this direction."""
        return websocket.encode(websocket.TEXT, b"%d" % taken, masked=self._masked)

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""
        return websocket.encode(websocket.TEXT, b"", masked=self._masked)

    def free(self) -> bytes:
        """Return the message that gives the connection back."""
        return _in_message(self._seals.sealer, kinds.FREE, masked=self._masked)

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Report payload, or read a text message. Raises RecordError."""
        if opcode == websocket.BINARY:
            super().on_payload(opcode, piece, message_end=message_end)
            return
        reader = websocket.MessageReader(_MAX_DIGITS, self._on_text, self.on_control)
        self._parser.sink = reader
        reader.on_payload(opcode, piece, message_end=message_end)

    def _on_text(self, _opcode: int, text: bytes) -> None:
        """Report an end, after which the peer sends no payload, or a reset after the end of the last user."""
        if not text:
            self._parser.sink = self
            self.events.on_reset_after_end()
            return
        if not text.isdigit():
            raise RecordError("a text message that is no number")
        self._parser.sink = websocket.MessageReader(KIND_SIZE + TAG_SIZE, self._after_end, self.on_control)
        self.events.on_end(int(text))

    def _after_end(self, opcode: int, message: bytes) -> None:
        """Read a message after the end. Raises RecordError."""
        if opcode != websocket.BINARY:
            if message:
                raise RecordError("a second end of a direction")
            self.events.on_reset_after_end()
            return
        if len(message) < KIND_SIZE + TAG_SIZE:
            raise RecordError("a message after the end of a direction that is no record")
        kind = self._seals.opener.open(message)[0]
        if kind != kinds.FREE:
            raise RecordError(f"a record of kind {kind} after the end of a direction")
        self.events.on_free()


def _in_message(sealer: Sealer, kind: int, body: bytes = b"", *, masked: bool) -> bytes:
    return websocket.encode(websocket.BINARY, sealer.seal(bytes([kind]) + body), masked=masked)


def _report(events: Events, kind: int, body: memoryview) -> None:
    if kind == kinds.DATA:
        events.on_payload(body)
    elif kind == kinds.END:
        events.on_end(kinds.taken_of(body))
    elif kind == kinds.RESET:
        events.on_reset()
    elif kind == kinds.RESET_AFTER_END:
        events.on_reset_after_end()
    elif kind == kinds.FREE:
        events.on_free()
    elif kind != kinds.PING:
        raise RecordError(f"a record of kind {kind} after the target")


def _ignore(kind: int, body: memoryview) -> None:
    """Drop a record of a connection that is being closed."""
