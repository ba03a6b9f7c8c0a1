"""Tunnel connections of transport tcp between two ends with session keys.

The announcement of the target is a sealed record. After it come blocks in clear (``ClearIdle``), or sealed records
(``RecordIdle``), as both ends have agreed in their handshake. A connection serves one user after the other.

Importing this module loads ``cryptography``, which takes 10 MB.
"""

import functools
from typing import TYPE_CHECKING, Final

from backhaul.errors import TransportError
from backhaul.relay.clear_codec import ClearCodec
from backhaul.relay.codec import LentCodec
from backhaul.relay.flows import Flow
from backhaul.relay.lent_channel import ServerChannel
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.sealed_codecs import RecordCodec
from backhaul.relay.spliced import SplicedClient, SplicedRelay, SplicedServer
from backhaul.security import kinds
from backhaul.security.records import FirstRecord, Record
from backhaul.transports.client_end import Arrival
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire import blocks

from .dedicated_client import IdleOwner
from .dedicated_server import CarrierOwner
from .messages import LentConnection, MessageArrival, MessageIdle
from .raw import RawFlowArrival, carry_flow
from .sealed import ALTERED, MAX_BODY, padded, target_of

if TYPE_CHECKING:
    from .resources import SealedRawResources

_RESET_AFTER_END: Final = blocks.encode(blocks.RESET_AFTER_END)


class RecordIdle(MessageIdle):
    """An idle connection on the public end, whose users' bytes are sealed."""

    __slots__ = ("_seals",)
    _relay: "SealedRawResources"
    reused = True

    def __init__(self, relay: "SealedRawResources", connection: SealedConnection, owner: CarrierOwner) -> None:
        super().__init__(relay, connection, owner)
        self._seals = connection.seals
        if connection.received:
            self._refuse()

    @property
    def takes_flows(self) -> bool:
        """True for each peer with keys."""
        return True

    def ping(self) -> None:
        """Do nothing: the kernel keeps the connection alive."""

    def _for_user(self, target: str) -> bytes:
        return self._seals.sealer.frame(kinds.TCP, padded(target))

    def _for_flow(self, target: str) -> bytes:
        return self._seals.sealer.frame(kinds.UDP, padded(target))

    def _message(self, data: bytes) -> bytes:
        return self._seals.sealer.frame(kinds.DATA, data)

    def _user_channel(self, unsent: bytes, before: int) -> MessageChannel:
        return ServerChannel(self._relay, self._sock, self._codec(), self, unsent, before=before)

    def _codec(self) -> LentCodec:
        return RecordCodec(self._seals.sealer, self._seals.opener)

    def _received(self, data: bytes) -> None:
        """Close the connection, on which a client sends nothing before the target."""
        del data
        self._give_up()


class ClearIdle(RecordIdle):
    """An idle connection on the public end, whose users' bytes are in clear."""

    __slots__ = ()
    joint = SplicedRelay

    def attach_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end."""
        if not self._alive():
            return False
        try:
            rest = self._announce(self._for_flow(flow.target))
        except OSError:
            return False
        tunnel, rtt = Connection(self._sock, self.peer), self._owner.session.rtt
        carry_flow(self._relay.poller, tunnel, flow, unsent=rest, rtt=rtt)
        return True

    def _message(self, data: bytes) -> bytes:
        return blocks.payload_header(len(data)) + data

    def _user_channel(self, unsent: bytes, before: int) -> MessageChannel:
        return SplicedServer(self._relay, self._sock, self._codec(), self, unsent, before=before)

    def _codec(self) -> ClearCodec:
        return ClearCodec(self._seals)


class RecordIdleConnection(LentConnection):
    """An idle connection on the client, whose users' bytes are sealed."""

    __slots__ = ("_first", "_seals")
    _relay: "SealedRawResources"
    reused = True

    def __init__(self, relay: "SealedRawResources", connection: SealedConnection, owner: IdleOwner) -> None:
        super().__init__(relay, connection, owner)
        self._seals = connection.seals
        self._first: FirstRecord | None = None
        if connection.received:
            self._receive_later(connection.received)

    def _received(self, data: bytes) -> None:
        """Read the target. A reset of the last user after their end ends the connection."""
        self._first = self._first or FirstRecord(self._seals.opener, MAX_BODY)
        try:
            record = self._first.feed(data)
            if record and record.kind == kinds.RESET_AFTER_END:
                self._give_up()
                return
            arrival = self._arrival(record) if record else None
        except TransportError as error:
            self._relay.complaints.warn("record", f"dropped a tunnel connection: {error}; {ALTERED}")
            self._give_up()
            return
        if arrival:
            self._first = None
            self._relay.poller.ignore_readable(self._sock)
            self._expect_outages()
            self._owner.addressed(self, arrival)

    def _arrival(self, record: Record) -> Arrival:
        target, datagrams = target_of(record.kind, record.body), record.kind == kinds.UDP
        codec = RecordCodec(self._seals.sealer, self._seals.opener)
        make = self._single(codec) if datagrams else self._lent(codec)
        arrival = MessageArrival(self._relay, codec, make, target, datagrams=datagrams)
        codec.feed(memoryview(bytearray(record.rest)))
        return arrival

    def _gone(self) -> None:
        self._owner.addressed(self, None)


class ClearIdleConnection(RecordIdleConnection):
    """An idle connection on the client, whose users' bytes are in clear."""

    __slots__ = ()

    def _received(self, data: bytes) -> None:
        if not self._first and data.startswith(_RESET_AFTER_END):
            self._give_up()
        else:
            super()._received(data)

    def _arrival(self, record: Record) -> Arrival:
        target = target_of(record.kind, record.body)
        if record.kind == kinds.UDP:
            connection = Connection(self._sock, self.peer, record.rest)
            return RawFlowArrival(self._relay, connection, target, self._owner)
        codec = ClearCodec(self._seals)
        make = functools.partial(SplicedClient, self._relay, self._sock, codec, self)
        arrival = MessageArrival(self._relay, codec, make, target, joint=SplicedRelay, datagrams=False)
        codec.feed(memoryview(record.rest))
        return arrival
