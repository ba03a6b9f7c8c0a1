"""Both carriers of a mux transport on sealed connections, with a man in the middle who sees each record."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from backhaul.mux.link import Link
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.outcome import Done, Outcome
from backhaul.relay.resumption import DEFAULT_MEMORY
from backhaul.relay.traffic import Meter, Traffic
from backhaul.security.records import ChainOpener, ChainSealer, Cipher, Seals
from backhaul.security.session import SessionKeys, Side
from backhaul.transports.auth import Credentials
from backhaul.transports.carriers.mux_client import MuxClient
from backhaul.transports.carriers.mux_server import MuxServer
from backhaul.transports.client_end import Answer, Arrival, ClientControlEvents, Opened
from backhaul.transports.connection import SealedConnection
from backhaul.transports.public_end import GateEvents
from backhaul.transports.session import ClientSession
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.transports.user import User
from backhaul.wire.checks import Check, Health
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Settings
from backhaul.wire.smux.frames import HEADER

from .doors import door_settings
from .mux import Indifferent, links_on
from .net import Peer, until
from .peers import EXTENDED
from .tunnel import Net

MASTER: Final = bytes(range(32))
Change = Callable[[int, bytes], list[bytes]]
"""Takes number and bytes of a record; returns what the man in the middle sends instead."""


def pass_on(_number: int, unit: bytes) -> list[bytes]:
    """Change nothing."""
    return [unit]


def next_record(data: bytes) -> int:
    """Return the size of the first record of a byte stream."""
    return 3 + int.from_bytes(data[:3]) if len(data) >= 3 else 3


def next_message(data: bytes) -> int:
    """Return the size of the first WebSocket frame."""
    if len(data) < 2:
        return 2
    length, masked = data[1] & 0x7F, 4 * (data[1] >> 7)
    more = {126: 2, 127: 8}.get(length, 0)
    return 2 + more + masked + (int.from_bytes(data[2 : 2 + more]) if more else length)


def next_frame(data: bytes) -> int:
    """Return the size of the first frame of a session in clear."""
    return HEADER.size + (HEADER.unpack_from(data)[2] if len(data) >= HEADER.size else 0)


class Direction:
    """One direction through the man in the middle, record by record."""

    def __init__(self, source: Peer, sink: Peer, size: Callable[[bytes], int]) -> None:
        self.seen = bytearray()
        self.change: Change = pass_on
        self.open = asyncio.Event()
        self.open.set()
        self._source, self._sink, self._size = source, sink, size
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        rest, number = b"", 0
        with suppress(OSError, TimeoutError):
            while data := await self._read():
                self.seen += data
                rest += data
                while len(rest) >= (size := self._size(rest)):
                    for unit in self.change(number, rest[:size]):
                        await self._sink.send(unit)
                    rest, number = rest[size:], number + 1
        with suppress(OSError):
            self._sink.sock.shutdown(socket.SHUT_RDWR)

    async def _read(self) -> bytes:
        await self.open.wait()
        return await asyncio.get_running_loop().sock_recv(self._source.sock, 1 << 18)

    async def inject(self, data: bytes) -> None:
        """Send bytes of the man in the middle's own."""
        await self._sink.send(data)


class _Session:
    """The session of a client that has proved itself."""

    peer = EXTENDED
    connected = True
    rtt = 0.0
    vouches = True
    keys: SessionKeys | None = None
    moves = False

    def send(self, signal: Signal) -> None: ...
    def check(self, check: Check) -> None: ...
    def ask(self, within: float, told: Callable[[bool], None]) -> None: ...


class _Gate:
    """Admits nothing by itself."""

    def start(self, events: GateEvents) -> None: ...
    def rehandshake(self, sock: socket.socket, data: bytes) -> None: ...
    def stop_listening(self) -> None: ...


class _Door:
    """Connects to the man in the middle, who leads to the server."""

    can_ask = protected = measurable = private = False
    server = EXTENDED
    server_address = ""

    def __init__(self) -> None:
        self.done: list[Opened] = []

    async def measure(self) -> Answer:
        raise NotImplementedError

    def start(self, events: ClientControlEvents) -> None: ...
    async def connect(self) -> str:
        return ""

    def dial(self, done: Opened, *, resumes: bool = False) -> None:
        del resumes
        self.done.append(done)

    def send(self, signal: Signal) -> None: ...
    def refuse(self, target: str, reason: str) -> None: ...
    def report(self, health: Health) -> None: ...
    def tell_ended(self, identity: bytes) -> None: ...
    def probe(self) -> None: ...
    def disconnect(self) -> None: ...
    def close(self) -> None: ...


@dataclass
class _ServerEvents:
    """Counts the sessions that take users."""

    fit = Indifferent()
    waiting = 0
    ready: int = 0

    def client_connected(self, session: ClientSession) -> None: ...
    def client_lost(self, reason: str, *, goodbye: bool = False) -> None: ...
    def target_refused(self, target: str, reason: str) -> None: ...
    def health_reported(self, health: Health) -> None: ...
    def carrier_ready(self) -> None:
        self.ready += 1


@dataclass
class _ClientEvents:
    """Joins each user with a target that the test plays."""

    net: Net
    arrivals: asyncio.Queue[Arrival] = field(default_factory=asyncio.Queue)
    fit = Indifferent()

    def signal_received(self, signal: Signal, count: int = 1) -> None: ...
    def check_requested(self, check: Check) -> None: ...
    def control_lost(self, reason: str) -> None: ...
    def tunnel_opened(self) -> None: ...
    def tunnel_failed(self, error: Exception) -> None: ...
    def doubt(self) -> None: ...
    def disowned(self) -> None: ...
    def arrived(self, arrival: Arrival) -> None:
        self.arrivals.put_nowait(arrival)


@dataclass
class SealedTunnel:
    """A session between both carriers; ``down`` and ``up`` lead to the client and to the server."""

    net: Net
    server: MuxServer
    relays: tuple[Relay, Relay]  # the server's, the client's
    down: Direction
    up: Direction
    events: _ClientEvents
    ends: list[Outcome] = field(default_factory=list)

    async def user(self, target: str = "target:80", early: bytes = b"") -> Peer:
        """Return a user whose stream is open."""
        user, near = await self.net.pair()
        traffic = Traffic(Meter(), Meter())
        assert self.server.assign(User(near.sock, target, b"", traffic, self.ends.append, early))
        return user

    async def target(self, name: str = "target:80", done: Done | None = None) -> Peer:
        """Return the target of the next user."""
        async with asyncio.timeout(10):
            arrival = await self.events.arrivals.get()
        assert arrival.target == name
        near, far = await self.net.pair()
        arrival.join(near.sock, Traffic(Meter(), Meter()), done or self.ends.append)
        return far

    @property
    def links(self) -> list[Link]:
        """The ends of the session that are not closed, the server's first."""
        return [link for relay in self.relays for link in links_on(relay)]

    async def over(self) -> None:
        """Return when both ends have closed the session."""
        await until(lambda: not self.links)


def seals(side: Side, *, payload: bool, epoch: int | None = None) -> Seals:
    """Return the seals of one end; with other keys after each ``epoch`` records."""
    if not epoch:
        return SessionKeys(MASTER, side, Cipher.AES_128_GCM, payload=payload).tunnel(0)
    down, up = (secret * 32 for secret in (b"d", b"u"))
    mine, others = (up, down) if side is Side.CLIENT else (down, up)
    sealer = ChainSealer(mine, Cipher.AES_128_GCM, epoch=epoch)
    return Seals(sealer, ChainOpener(others, Cipher.AES_128_GCM, epoch=epoch), payload)


@asynccontextmanager
async def sealed_tunnel(
    net: Net,
    *,
    payload: bool = True,
    messages: bool = False,
    mux: Settings | None = None,
    epoch: int | None = None,
    received: bytes = b"",
) -> AsyncIterator[SealedTunnel]:
    """Run both ends of one session; ``messages`` is true for a transport on WebSocket messages.

    The client has read ``received`` together with the end of the handshake.
    """
    mux = mux or Settings()
    pollers = make_poller(), make_poller()
    relays = Relay(pollers[0]), Relay(pollers[1])
    for relay in relays:
        relay.resumption.apply(0, DEFAULT_MEMORY)  # a lost connection ends the session
    settings = ServerSettings(
        bind_host="", bind_port=0, credentials=Credentials({}), tunnel_options=door_settings(0).tunnel_options, mux=mux
    )
    server = MuxServer(settings, CarrierLimits(channel_size=8, mux_con=5000), _Gate(), relays[0], messages=messages)
    server.start(_ServerEvents())
    server.client_connected(_Session())
    door, events = _Door(), _ClientEvents(net)
    client = MuxClient(door_settings(0, mux=mux), door, relays[1], messages=messages)
    client.start(events)
    (at_server, right), (left, at_client) = await net.pair(), await net.pair()
    for near, far in ((at_server, right), (at_client, left)):  # little memory on the line, so that it is soon full
        near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    size = next_message if messages else next_record if payload else next_frame
    down, up = Direction(right, left, size), Direction(left, right, size)
    client.open()
    ends = (seals(side, payload=payload, epoch=epoch) for side in (Side.CLIENT, Side.SERVER))
    door.done[0](SealedConnection(at_client.sock, EXTENDED, received, seals=next(ends)))
    server.tunnel_opened(SealedConnection(at_server.sock, EXTENDED, seals=next(ends)))
    try:
        yield SealedTunnel(net, server, relays, down, up, events)
    finally:
        for direction in (down, up):
            direction.task.cancel()
        for relay, poller in zip(relays, pollers, strict=True):
            relay.close()
            poller.close()
        client.close()
        await asyncio.gather(down.task, up.task, return_exceptions=True)
