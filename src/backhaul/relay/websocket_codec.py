"""Users' bytes in WebSocket messages."""

from abc import ABC, abstractmethod
from typing import Final

from backhaul.wire import websocket
from backhaul.wire.peer import Feature, Peer

from .channel import FRAMES_AT, OUT
from .codec import MESSAGE_SIZE, NOBODY, Events

# Bytes of a message to v0.7.2, as large as its own. It reads any size, but writes each message whole to a target's
# socket with a buffer of 32 KiB, and stalls for 40 ms if the rest does not fit (with 64 KiB: 0.1 Gbit/s, with 16 or
# 32 KiB: 1.8).
_MESSAGE_SIZE_OF_OTHERS: Final = 1 << 14  # one record of TLS
# Empty messages to a peer with Feature.HALF_CLOSE, which v0.7.2 never sends: the end of one direction, and a reset.
# TCP's own FIN and RST can't stand for them, because TLS and proxies turn both into an end of everything.
_END: Final = websocket.TEXT
_RESET: Final = websocket.BINARY
_PAYLOAD_AT: Final = FRAMES_AT + websocket.MAX_HEADER


class _Deaf:
    """The sink of a parser whose connection is being closed."""

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None: ...
    def on_control(self, opcode: int, payload: bytes) -> None: ...


_DEAF: Final = _Deaf()


class WebSocketFraming(ABC):
    """The common part of codecs for WebSocket. ``masked`` is true on the client, whose frames have a mask."""

    __slots__ = ("_masked", "_parser", "events")

    def __init__(self, parser: websocket.FrameParser, *, masked: bool) -> None:
        """Take over ``parser``, which may be about to deliver the next message."""
        self._parser = parser
        self._masked = masked
        self.events: Events = NOBODY
        parser.sink = self

    def ping(self) -> bytes:
        """Return a ping."""
        return websocket.encode(websocket.PING, b"", masked=self._masked)

    def feed(self, data: memoryview) -> None:
        """Parse bytes of the connection. Raises TransportError."""
        self._parser.feed(data)

    def release(self) -> None:
        """Stop reporting."""
        self.events = NOBODY
        self._parser.sink = _DEAF

    @property
    def unfinished(self) -> int:
        """None: payload is passed on as it arrives."""
        return 0

    @property
    def between_messages(self) -> bool:
        """True if no part of another message has arrived."""
        return self._parser.between_messages

    def stop(self) -> None:
        """Stop parsing, because later bytes concern the next user."""
        self._parser.stop()

    def rest(self) -> bytes:
        """Return the bytes that have arrived since the stop."""
        return self._parser.go_on()

    @abstractmethod
    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Take a piece of a message."""

    def on_control(self, opcode: int, payload: bytes) -> None:
        """Report a ping or a close, which proxies and other implementations send."""
        if opcode == websocket.PING:
            self.events.on_ping(websocket.encode(websocket.PONG, payload, masked=self._masked))
        elif opcode == websocket.CLOSE:
            self.events.on_close(websocket.encode(websocket.CLOSE, payload[:2], masked=self._masked))


class WebSocketCodec(WebSocketFraming):
    """Messages in clear, as those of v0.7.2."""

    __slots__ = ("_begun", "frame_size", "half_close", "pings", "whole_frames")
    header_room = websocket.MAX_HEADER

    def __init__(self, parser: websocket.FrameParser, peer: Peer, *, masked: bool) -> None:
        super().__init__(parser, masked=masked)
        size = MESSAGE_SIZE if peer.supports(Feature.LARGE_MESSAGES) else _MESSAGE_SIZE_OF_OTHERS
        self.frame_size = size - websocket.MAX_HEADER
        self.half_close = peer.supports(Feature.HALF_CLOSE)
        self.pings = not (masked and peer.supports(Feature.PINGS))  # servers come first
        self.whole_frames = peer.supports(Feature.WHOLE_FRAMES)
        self._begun = False  # bytes of the present message have arrived

    def message(self, count: int) -> memoryview:
        """Return the message of ``count`` bytes in OUT."""
        return OUT[websocket.put_header(OUT, _PAYLOAD_AT, count, masked=self._masked) : _PAYLOAD_AT + count]

    def end(self, taken: int) -> bytes:
        """Return the end of this direction."""
        del taken
        return websocket.encode(_END, b"", masked=self._masked)

    def reset(self) -> bytes:
        """Return a reset."""
        return websocket.encode(_RESET, b"", masked=self._masked)

    def reset_after_end(self) -> bytes:
        """Return a reset."""
        return self.reset()

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        """Report payload; an empty message is the end of the direction, or a reset."""
        begun, self._begun = self._begun, not message_end
        if piece:
            self.events.on_payload(piece)
        elif self.half_close and message_end and not begun:
            self.events.on_end(0) if opcode == _END else self.events.on_reset()
