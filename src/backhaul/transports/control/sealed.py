"""The sealed control channel: typed messages in records, the same on both ends."""

import secrets
from collections.abc import Callable
from typing import Protocol

from backhaul.errors import TransportError
from backhaul.security.records import RecordReader, Seals
from backhaul.wire import websocket
from backhaul.wire.messages import MAX_PADDING, Message, read_message
from backhaul.wire.signals import Signal

_MAX_MESSAGE = 1 << 12  # bytes of a WebSocket message: more than any record of a control channel


class Codec(Protocol):
    """Seals messages, and reads those of the peer. Encoded messages must be sent, in this order."""

    def encode(self, signal: Signal, body: bytes = b"") -> bytes:
        """Return the bytes of a message; one without a body is padded."""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages in ``data``. Raises TransportError if it is not authentic."""


def padding() -> bytes:
    """Return padding of a random size."""
    return bytes(secrets.token_bytes(1)[0] % (MAX_PADDING + 1))  # even enough, and five times as fast as randbelow


class RecordCodec:
    """Records in the byte stream of tcp, tcpmux and udp."""

    def __init__(self, seals: Seals) -> None:
        self._sealer = seals.sealer
        self._messages: list[Message] = []
        self._reader = RecordReader(seals.opener, self._take)

    def encode(self, signal: Signal, body: bytes = b"") -> bytes:
        """Return the record of a message."""
        return self._sealer.frame(signal, body or padding())

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages in ``data``. Raises RecordError."""
        self._reader.feed(memoryview(bytearray(data)))
        messages, self._messages = self._messages, []
        return messages

    def _take(self, kind: int, body: memoryview) -> None:
        self._messages += read_message(kind, bytes(body))


class WebSocketCodec:
    """Records as binary WebSocket messages, on ws, wss, wsmux and wssmux. Pings of proxies are answered."""

    def __init__(self, seals: Seals, reply: Callable[[bytes], None], *, from_client: bool) -> None:
        """``reply`` sends an answer to a ping; with ``from_client`` the peer is a client, whose frames are masked."""
        self._sealer = seals.sealer
        self._opener = seals.opener
        self._reply = reply
        self._masked = not from_client
        self._messages: list[Message] = []
        reader = websocket.MessageReader(_MAX_MESSAGE, self._on_message, self._on_control)
        self._parser = websocket.FrameParser(reader, expect_masked=from_client)

    def encode(self, signal: Signal, body: bytes = b"") -> bytes:
        """Return the WebSocket message of a message."""
        sealed = self._sealer.seal(bytes([signal]) + (body or padding()))
        return websocket.encode(websocket.BINARY, sealed, masked=self._masked)

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages in ``data``. Raises WebSocketError, RecordError, or TransportError at a close frame."""
        self._parser.feed(memoryview(data))
        messages, self._messages = self._messages, []
        return messages

    def _on_message(self, opcode: int, payload: bytes) -> None:
        del opcode
        if plain := self._opener.open(payload):
            self._messages += read_message(plain[0], plain[1:])

    def _on_control(self, opcode: int, payload: bytes) -> None:
        if opcode == websocket.PING:
            self._reply(websocket.encode(websocket.PONG, payload, masked=self._masked))
        elif opcode == websocket.CLOSE:  # from a proxy: the other end says goodbye in a record
            raise TransportError("a proxy in between closed it")
