"""Both ends of sealed tunnel connections, made by hand, with a test between them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backhaul.net.deadlines import Deadlines
from backhaul.net.udp import Counters
from backhaul.relay.engine import Relay
from backhaul.relay.flows import Flow
from backhaul.relay.lent_channel import LentChannel
from backhaul.relay.outcome import Outcome
from backhaul.relay.traffic import Meter, Traffic
from backhaul.security import kinds
from backhaul.security.records import Cipher, Sealer, Seals
from backhaul.security.session import SessionKeys, Side
from backhaul.transports.carriers.dedicated_client import IdleConnection, IdleOwner
from backhaul.transports.carriers.dedicated_server import CarrierOwner, IdleCarrier
from backhaul.transports.carriers.messages import MessageIdle
from backhaul.transports.client_end import Arrival
from backhaul.transports.connection import SealedConnection
from backhaul.transports.registry import raw_carrier, raw_idle, websocket_carrier, websocket_idle
from backhaul.transports.user import User
from backhaul.wire import blocks
from backhaul.wire.blocks import HEADER_SIZE
from backhaul.wire.datagrams import Batch

from .net import PATIENCE, Peer, until
from .peers import EXTENDED
from .stage import CarrierStage
from .web import BINARY, TEXT, frame

TARGET = "192.0.2.1:80"


class Kind(NamedTuple):
    """A way to carry users on sealed connections."""

    name: str
    server: Callable[[Relay, SealedConnection, CarrierOwner], IdleCarrier]
    client: Callable[[Relay, SealedConnection, IdleOwner], IdleConnection]
    http: bool
    payload: bool

    def __str__(self) -> str:
        return self.name

    async def receive_target(self, peer: Peer) -> bytes:
        """Return the announcement of a target, as it is on the wire."""
        return await (receive_message(peer) if self.http else receive_record(peer))

    async def receive(self, peer: Peer) -> bytes:
        """Return the next record, message or block after the target, as it is on the wire."""
        return await (self.receive_target(peer) if self.http or self.payload else receive_block(peer))


KINDS = [
    Kind("tcp", raw_carrier, raw_idle, http=False, payload=False),
    Kind("tcp-sealed", raw_carrier, raw_idle, http=False, payload=True),
    Kind("ws", websocket_carrier, websocket_idle, http=True, payload=False),
    Kind("ws-sealed", websocket_carrier, websocket_idle, http=True, payload=True),
]
SEALED_KINDS = [kind for kind in KINDS if kind.payload]


async def receive_record(peer: Peer) -> bytes:
    """Return the next record of a byte stream."""
    head = await peer.receive(3)
    return head + await peer.receive(int.from_bytes(head))


async def receive_block(peer: Peer) -> bytes:
    """Return the next block of a byte stream."""
    head = await peer.receive(HEADER_SIZE)
    return head + await peer.receive(int.from_bytes(head[1:]))


async def receive_message(peer: Peer) -> bytes:
    """Return the next WebSocket message."""
    head = await peer.receive(2)
    length = head[1] & 0x7F
    if length > 125:
        head += await peer.receive(2 if length == 126 else 8)
        length = int.from_bytes(head[2:])
    return head + await peer.receive(length + (4 if head[1] & 0x80 else 0))


class Speaker:
    """One end of a connection, played by a test: it makes the messages of that end, and any mistake."""

    def __init__(self, kind: Kind, sealer: Sealer, *, masked: bool) -> None:
        self._kind = kind
        self._sealer = sealer
        self._masked = masked

    def record(self, kind: int, body: bytes = b"") -> bytes:
        """Return a sealed record, in a message if need be."""
        if not self._kind.http:
            return self._sealer.frame(kind, body)
        return self._message(BINARY, self._sealer.seal(bytes([kind]) + body))

    def data(self, body: bytes) -> bytes:
        """Return payload."""
        if self._kind.payload:
            return self.record(kinds.DATA, body)
        return self._message(BINARY, body) if self._kind.http else blocks.payload_header(len(body)) + body

    def end(self, taken: int = 0) -> bytes:
        """Return the end of a direction, after ``taken`` bytes of the other one."""
        if self._kind.payload:
            return self.record(kinds.END, taken.to_bytes(8))
        body = str(taken).encode() if self._kind.http else taken.to_bytes(8)
        return self._message(TEXT, body) if self._kind.http else blocks.encode(blocks.END, body)

    def reset(self) -> bytes:
        """Return a reset."""
        if self._kind.payload:
            return self.record(kinds.RESET)
        return self._message(BINARY, b"") if self._kind.http else blocks.encode(blocks.RESET)

    def reset_after_end(self) -> bytes:
        """Return a reset that follows the end of this direction."""
        if self._kind.payload:
            return self.record(kinds.RESET_AFTER_END)
        return self._message(TEXT, b"") if self._kind.http else blocks.encode(blocks.RESET_AFTER_END)

    def free(self) -> bytes:
        """Return the message that gives the connection back."""
        if self._kind.payload or self._kind.http:
            return self.record(kinds.FREE)
        return blocks.encode(blocks.FREE, self._sealer.seal(bytes([kinds.FREE])))

    def _message(self, opcode: int, payload: bytes) -> bytes:
        return frame(opcode, payload, masked=self._masked)


@dataclass(eq=False)
class Near:
    """A user's end of a flow."""

    received: list[bytes] = field(default_factory=list)
    closed: bool = False

    def send(self, batch: Batch) -> None:
        """See DatagramEnd."""
        self.received += map(bytes, batch)

    def close(self) -> None:
        """See DatagramEnd."""
        self.closed = True


@dataclass(eq=False)
class Stage(CarrierStage):
    """Owners of connections on both ends of a tunnel, with keys in common."""

    arrivals: list[Arrival | None] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    free: list[IdleCarrier] = field(default_factory=list)
    idle: list[IdleConnection] = field(default_factory=list)
    lost: list[IdleConnection] = field(default_factory=list)
    wanted: bool = True
    returning: Deadlines[LentChannel] = field(default_factory=lambda: Deadlines(PATIENCE, LentChannel.close))

    def carrier_wanted(self, carrier: object, users: int = 0, opened: float = 0.0) -> bool:
        """See CarrierOwner and IdleOwner."""
        del carrier, users, opened
        return self.wanted

    def carrier_free(self, carrier: Any) -> None:  # noqa: ANN401 - of either end
        """See CarrierOwner and IdleOwner."""
        (self.free if isinstance(carrier, MessageIdle) else self.idle).append(carrier)

    def carrier_lost(self, carrier: IdleConnection) -> None:
        """See IdleOwner."""
        self.lost.append(carrier)

    def addressed(self, carrier: IdleConnection, arrival: Arrival | None) -> None:
        """See IdleOwner."""
        del carrier
        self.arrivals.append(arrival)

    def seals(self, kind: Kind) -> tuple[Seals, Seals]:
        """Return the seals of both ends of a connection, the server's first."""
        server, client = (
            SessionKeys(bytes(32), side, Cipher.AES_128_GCM, payload=kind.payload).tunnel(0)
            for side in (Side.SERVER, Side.CLIENT)
        )
        return server, client

    async def server(self, kind: Kind, received: bytes = b"") -> tuple[IdleCarrier, Peer]:
        """Return an idle connection of the server, and its other end."""
        near, far = await self.net.pair()
        seals, _ = self.seals(kind)
        return kind.server(self.relay, SealedConnection(near.sock, EXTENDED, received, seals=seals), self), far

    async def client(self, kind: Kind, received: bytes = b"") -> tuple[IdleConnection, Peer]:
        """Return an idle connection of the client, and its other end."""
        near, far = await self.net.pair()
        _, seals = self.seals(kind)
        return kind.client(self.relay, SealedConnection(near.sock, EXTENDED, received, seals=seals), self), far

    async def tunnel(self, kind: Kind) -> IdleCarrier:
        """Return an idle connection of the server whose other end is a client's."""
        near, far = await self.net.pair()
        ours, theirs = self.seals(kind)
        kind.client(self.relay, SealedConnection(far.sock, EXTENDED, seals=theirs), self)
        return kind.server(self.relay, SealedConnection(near.sock, EXTENDED, seals=ours), self)

    async def user(self, early: bytes = b"", preface: bytes = b"") -> tuple[User, Peer]:
        """Return a user who has sent something already, and the user's own end."""
        peer, sock = await self.net.pair()
        await peer.send(early)
        return User(sock.sock, TARGET, preface, Traffic(Meter(), Meter()), self.outcomes.append), peer

    def flow(self, near: Near) -> Flow:
        """Return a flow without a far end."""
        return Flow(self.relay.flows, near, TARGET, Traffic(Meter(), Meter()), Counters())

    async def arrival(self) -> Arrival:
        """Return the user that has arrived at the client."""
        await until(lambda: self.arrivals)
        arrival = self.arrivals.pop()
        assert arrival
        return arrival

    async def reached(self) -> Peer:
        """Join the user that arrives at the client with a target; return the target's own end."""
        arrival = await self.arrival()
        assert (arrival.target, arrival.datagrams) == (TARGET, False)
        peer, sock = await self.net.pair()
        arrival.join(sock.sock, Traffic(Meter(), Meter()), self.outcomes.append)
        return peer
