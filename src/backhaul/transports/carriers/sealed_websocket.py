"""Tunnel connections of ws and wss between two ends with session keys.

The announcement of the target is a sealed record in a binary message. After it come messages in clear
(``SealedWsIdle``), or records (``WsRecordIdle``), as both ends have agreed in their handshake.

Importing this module loads ``cryptography``, which takes 10 MB.
"""

from typing import TYPE_CHECKING

from backhaul.errors import TransportError
from backhaul.relay.codec import LentCodec
from backhaul.relay.lent_channel import ServerChannel
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.sealed_codecs import LentWebSocketCodec, SealedMessageCodec
from backhaul.security import kinds
from backhaul.security.records import KIND_SIZE, TAG_SIZE, RecordError, Sealer
from backhaul.transports.connection import SealedConnection
from backhaul.wire import websocket

from .dedicated_client import IdleOwner
from .dedicated_server import CarrierOwner
from .messages import ClosedError
from .sealed import ALTERED, MAX_BODY, padded, target_of
from .websocket import WsIdle, WsIdleConnection

if TYPE_CHECKING:
    from .resources import MessageResources


class SealedWsIdle(WsIdle):
    """An idle connection on the public end, whose users' bytes are in clear."""

    __slots__ = ("_seals",)
    reused = True
    ping_message = websocket.encode(websocket.PING, b"", masked=False)

    def __init__(self, relay: "MessageResources", connection: SealedConnection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection, owner)
        self._seals = connection.seals

    def _for_user(self, target: str) -> bytes:
        return _sealed(self._seals.sealer, kinds.TCP, padded(target))

    def _for_flow(self, target: str) -> bytes:
        return _sealed(self._seals.sealer, kinds.UDP, padded(target))

    def _codec(self) -> LentCodec:
        return LentWebSocketCodec(self._seals, self._parser, self.peer, masked=False)

    def _user_channel(self, unsent: bytes, before: int) -> MessageChannel:
        self._relay.pings.discard(self)
        return ServerChannel(self._relay, self._sock, self._codec(), self, unsent, before=before)

    def _garbage(self, data: bytes) -> None:
        """Learn nothing: the handshake has shown that both ends run the same transport."""


class WsRecordIdle(SealedWsIdle):
    """An idle connection on the public end, whose users' bytes are sealed."""

    __slots__ = ()

    def _message(self, data: bytes) -> bytes:
        return _sealed(self._seals.sealer, kinds.DATA, data)

    def _codec(self) -> LentCodec:
        return SealedMessageCodec(self._seals.sealer, self._seals.opener, self._parser, masked=False)


class SealedWsIdleConnection(WsIdleConnection):
    """An idle connection on the client, whose users' bytes are in clear."""

    __slots__ = ("_seals",)
    reused = True
    largest_announcement = KIND_SIZE + MAX_BODY + TAG_SIZE

    def __init__(self, relay: "MessageResources", connection: SealedConnection, owner: IdleOwner) -> None:
        super().__init__(relay, connection, owner)
        self._seals = connection.seals

    def _on_message(self, opcode: int, payload: bytes) -> None:
        """Read the target. Raises RecordError, or ClosedError at a reset of the last user after their end."""
        if opcode == websocket.TEXT and not payload:
            raise ClosedError
        if opcode != websocket.BINARY or len(payload) < KIND_SIZE + TAG_SIZE:
            raise RecordError("a message that is no record")
        plain = self._seals.opener.open(payload)
        if plain[0] == kinds.RESET_AFTER_END:
            raise ClosedError
        target, codec = target_of(plain[0], plain[KIND_SIZE:]), self._codec()
        datagrams = plain[0] == kinds.UDP
        make = self._single(codec) if datagrams else self._lent(codec)
        self._addressed(codec, make, target, datagrams=datagrams)

    def _codec(self) -> LentCodec:
        return LentWebSocketCodec(self._seals, self._parser, self.peer, masked=True)

    def _rest(self) -> None:
        super()._rest()
        self._parser.sink = self._reader()

    def _complain(self, error: TransportError) -> None:
        self._relay.complaints.warn("record", f"dropped a tunnel connection: {error}; {ALTERED}")


class WsRecordIdleConnection(SealedWsIdleConnection):
    """An idle connection on the client, whose users' bytes are sealed."""

    __slots__ = ()

    def _codec(self) -> LentCodec:
        return SealedMessageCodec(self._seals.sealer, self._seals.opener, self._parser, masked=True)


def _sealed(sealer: Sealer, kind: int, body: bytes) -> bytes:
    return websocket.encode(websocket.BINARY, sealer.seal(bytes([kind]) + body), masked=False)
