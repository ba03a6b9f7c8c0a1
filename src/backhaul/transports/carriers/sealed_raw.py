"""Tunnel connections of transport tcp between two ends with session keys.

The announcement of the target is a sealed record. What follows is in clear (``SealedRawIdle``), or everything is
records (``RecordIdle``), as both ends have agreed in their handshake.

Importing this module loads ``cryptography``, which takes 10 MB.
"""

from backhaul.relay.codec import LentCodec
from backhaul.relay.engine import Relay
from backhaul.relay.lent_channel import ServerChannel
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.pair import End
from backhaul.relay.sealed_codecs import RecordCodec
from backhaul.security import kinds
from backhaul.security.records import FirstRecord, Record, RecordError
from backhaul.transports.base import Arrival
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.peer import Feature

from .dedicated import CarrierOwner, IdleOwner
from .messages import LentConnection, MessageArrival, MessageIdle
from .raw import RawArrival, RawFlowArrival, RawIdle
from .sealed import ALTERED, MAX_BODY, padded, target_of


class SealedRawIdle(RawIdle):
    """An idle connection on the public end, whose users' bytes are in clear."""

    __slots__ = ("_sealer",)

    def __init__(self, relay: Relay, connection: SealedConnection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection, owner)
        self._sealer = connection.seals.sealer

    def _for_user(self, target: str) -> bytes:
        return self._sealer.frame(kinds.TCP, padded(target))

    def _for_flow(self, target: str) -> bytes:
        return self._sealer.frame(kinds.UDP, padded(target))

    def _received(self, data: bytes) -> None:
        """Close the connection: this is no client that returns, because the handshake is over."""
        del data
        self._give_up()


class RecordIdle(MessageIdle):
    """An idle connection on the public end, whose users' bytes are sealed."""

    __slots__ = ("_opener", "_sealer")

    def __init__(self, relay: Relay, connection: SealedConnection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection, owner)
        self._sealer = connection.seals.sealer
        self._opener = connection.seals.opener
        if connection.received:
            self._refuse()

    @property
    def takes_flows(self) -> bool:
        """True for each peer with keys."""
        return True

    def ping(self) -> None:
        """Do nothing: the kernel keeps the connection alive."""

    def _for_user(self, target: str) -> bytes:
        return self._sealer.frame(kinds.TCP, padded(target))

    def _for_flow(self, target: str) -> bytes:
        return self._sealer.frame(kinds.UDP, padded(target))

    def _message(self, data: bytes) -> bytes:
        return self._sealer.frame(kinds.DATA, data)

    def _codec(self) -> LentCodec:
        return RecordCodec(self._sealer, self._opener)

    def _user_channel(self, unsent: bytes) -> MessageChannel:
        if not self.peer.supports(Feature.REUSE):
            return self._channel(unsent)
        return ServerChannel(self._relay, self._sock, self._codec(), self, unsent)

    def _received(self, data: bytes) -> None:
        """Close the connection, on which a client sends nothing before the target."""
        del data
        self._give_up()


class SealedRawIdleConnection(LentConnection):
    """An idle connection on the client, whose users' bytes are in clear."""

    __slots__ = ("_first", "_opener")

    def __init__(self, relay: Relay, connection: SealedConnection, owner: IdleOwner) -> None:
        super().__init__(relay, connection, owner)
        self._opener = connection.seals.opener
        self._first: FirstRecord | None = None
        if connection.received:
            self._receive_later(connection.received)

    def _received(self, data: bytes) -> None:
        self._first = self._first or FirstRecord(self._opener, MAX_BODY)
        try:
            record = self._first.feed(data)
            arrival = self._arrival(record) if record else None
        except RecordError as error:
            self._relay.complaints.warn("record", f"dropped a tunnel connection: {error}; {ALTERED}")
            self._give_up()
            return
        if arrival:
            self._first = None
            self._relay.poller.ignore_readable(self._sock)
            self._expect_outages()
            self._owner.addressed(self, arrival)

    def _arrival(self, record: Record) -> Arrival:
        target = target_of(record.kind, record.body)
        if record.kind == kinds.UDP:
            return RawFlowArrival(self._relay, Connection(self._sock, self.peer, record.rest), target)
        end = End(self._sock, self.peer.supports(Feature.HALF_CLOSE))
        return RawArrival(self._relay, end, target, record.rest)

    def _gone(self) -> None:
        self._owner.addressed(self, None)


class RecordIdleConnection(SealedRawIdleConnection):
    """An idle connection on the client, whose users' bytes are sealed."""

    __slots__ = ("_sealer",)

    def __init__(self, relay: Relay, connection: SealedConnection, owner: IdleOwner) -> None:
        super().__init__(relay, connection, owner)
        self._sealer = connection.seals.sealer

    @property
    def reused(self) -> bool:
        """True if the connection comes back after a user."""
        return self.peer.supports(Feature.REUSE)

    def _arrival(self, record: Record) -> Arrival:
        target, codec = target_of(record.kind, record.body), RecordCodec(self._sealer, self._opener)
        datagrams = record.kind == kinds.UDP
        make = self._lent(codec) if self.reused and not datagrams else self._single(codec)
        arrival = MessageArrival(self._relay, codec, make, target, datagrams=datagrams)
        codec.feed(memoryview(bytearray(record.rest)))
        return arrival
