"""Signals as WebSocket messages: the control channel of ws, wss, wsmux and wssmux, on both ends."""

from collections.abc import Callable
from typing import Final

from backhaul.wire import websocket
from backhaul.wire.signals import Signal

_MAX_MESSAGE: Final = 125  # bytes; only the first counts

_KNOWN: Final = frozenset({Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED})

PING: Final = websocket.encode(websocket.PING, b"", masked=False)
"""The message of a server on a silent control channel, which proxies would close."""

PROBE: Final = websocket.encode(websocket.PING, b"?", masked=True)
"""The message by which a client checks that its server is alive; the answer is read as ``Signal.ANSWER``."""


def encode_signal(signal: Signal, *, masked: bool) -> bytes:
    """Return the message of ``signal``: one byte, binary. An empty message would crash a v0.7.2 peer."""
    return websocket.encode(websocket.BINARY, bytes([signal]), masked=masked)


class WsControlDecoder:
    """Decodes the messages of a control channel, and answers pings through ``reply``.

    With ``from_client`` the peer is a client, whose frames are masked.
    """

    def __init__(self, reply: Callable[[bytes], None], *, from_client: bool) -> None:
        self._reply = reply
        self._masked = not from_client
        reader = websocket.MessageReader(_MAX_MESSAGE, self._on_message, self._on_control)
        self._parser = websocket.FrameParser(reader, expect_masked=from_client)
        self._signals: list[Signal] = []
        self._items = 0  # messages and control frames of the present read

    def feed(self, data: bytes) -> list[Signal]:
        """Return the signals in ``data``. Raises WebSocketError, also at a flood."""
        self._items = 0
        self._parser.feed(memoryview(data))
        signals, self._signals = self._signals, []
        return signals

    def _on_message(self, opcode: int, payload: bytes) -> None:
        del opcode  # v0.7.2 accepts text as well
        if not self._masked:  # a server asks for many connections at once
            self._count()
        if payload and payload[0] in _KNOWN:
            self._signals.append(Signal(payload[0]))

    def _count(self) -> None:
        self._items += 1
        if self._items > websocket.MOST_AT_ONCE:
            raise websocket.WebSocketError("the peer floods the control channel")

    def _on_control(self, opcode: int, payload: bytes) -> None:
        self._count()
        if opcode == websocket.PING:
            self._reply(websocket.encode(websocket.PONG, payload, masked=self._masked))
        elif opcode == websocket.PONG:
            self._signals.append(Signal.ANSWER)
        elif opcode == websocket.CLOSE:
            self._reply(websocket.encode(websocket.CLOSE, payload[:2], masked=self._masked))
            self._signals.append(Signal.CLOSED)
