"""The client's side of transport udp: a UDP socket for each tunnel."""

import asyncio
import contextlib
import math
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from backhaul.net.connector import numeric_address
from backhaul.net.endpoints import Address
from backhaul.net.sockets import SocketOptions
from backhaul.net.udp import DatagramQueue, DatagramSocket, prepare
from backhaul.relay.flows import Flow, connect_flow
from backhaul.relay.outcome import Done
from backhaul.relay.traffic import Traffic
from backhaul.transports.doors.raw import RawDoor
from backhaul.transports.settings import ClientSettings
from backhaul.wire.announcements import IDLE, TUNNEL_SIZE
from backhaul.wire.datagrams import Batch
from backhaul.wire.targets import BadTargetError, parse_target

from .client import DoorClient
from .udp_dialect import ClientDialect, Line, Received, V072Client

if TYPE_CHECKING:
    from .resources import UdpClientResources

# Seconds until tunnels are announced again after the connection, and twice as many each time after that: the first
# announcements may be lost, or overtake what confirms the control channel.
_SOON: Final = 0.05
# Seconds until the first tunnels are announced to v0.7.2, which opens its UDP socket after the control channel. It is
# told of each tunnel once, so one that it has missed would never carry anything.
_LISTENS: Final = 0.1
_MOST_ANNOUNCED: Final = 64  # tunnels in a turn of the event loop: each takes 10 us


class UdpClient(DoorClient):
    """Tunnels that wait for a flow, and those that have one."""

    _door: RawDoor

    def __init__(self, settings: ClientSettings, door: RawDoor, relay: "UdpClientResources") -> None:
        super().__init__(door, relay.resumption)
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._server = "", 0  # its address, even after the loss of the control channel
        self._connected = False
        self._since = -math.inf  # time of the connection: flows of before may be another server's
        self._looked = -math.inf  # time of the last look for another way
        self._opening = 0  # tunnels requested before it was known how to announce them
        self._idle: set[_Tunnel] = set()
        self._assigned: set[_Tunnel] = set()
        self._announcing: asyncio.TimerHandle | None = None
        self._unannounced: list[_Tunnel] = []  # their turn is soon
        self._beginning: asyncio.TimerHandle | None = None  # set until the server has surely opened its socket
        self.relay = relay
        self.dialect: ClientDialect = V072Client(settings.tokens)

    @property
    def idle(self) -> int:
        """The number of tunnels that wait for a flow."""
        return len(self._idle)

    @property
    def spare(self) -> int:
        """All tunnels that wait for a flow: a server asks for a replacement of each that it uses."""
        return len(self._idle)

    @property
    def shared(self) -> int:
        """The number of tunnels that take another flow, which none does."""
        return 0

    @property
    def in_use(self) -> bool:
        """True while tunnels have flows."""
        return bool(self._assigned)

    @property
    def opening(self) -> int:
        """The number of tunnels that wait for the control channel."""
        return self._opening

    @property
    def open_now(self) -> int:
        """The number of tunnels that wait for a flow."""
        return len(self._idle)

    @property
    def obstacle(self) -> str:
        """The reason why no user can be carried, of which this end knows none."""
        return ""

    @property
    def connections(self) -> int:
        """The number of tunnels that wait for a flow or for the control channel."""
        return len(self._idle) + self._opening

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        host = await self._door.connect()
        self._server = host, self._settings.remote_port
        self._connected = True
        self._since = self._loop.time()
        self._enter()
        self.dialect = self._dialect_of_server()
        self._announce_no_more()
        if self.dialect.repeats:
            self._follow()
            self._leave_doubtful()
            self._announce_after(_SOON)
            self._begin()
        else:
            self._beginning = self._loop.call_later(_LISTENS, self._begin)
        return host

    def open(self) -> None:
        """Open a tunnel and announce it, once the server can hear that."""
        if not self._connected or self._beginning:
            self._opening += 1
            return
        try:
            sock = self._dial_for_user()
            if not sock and self._make_room():
                sock = self._dial_for_user()
            if not sock:
                return
            tunnel = _Tunnel(self, sock)
        except OSError:  # no route at the moment, which the control channel will notice, or no memory
            return
        self._idle.add(tunnel)
        tunnel.announce()

    def disconnect(self) -> None:
        """Close the control channel and the idle tunnels; flows go on."""
        self._door.disconnect()
        self._resumption.exit(self)
        self._connected = False
        self._opening = 0
        if self._beginning:
            self._beginning.cancel()
            self._beginning = None
        for tunnel in list(self._idle):
            tunnel.close()
        if not self._assigned:
            self._announce_no_more()

    @property
    def leaving(self) -> int:
        """The number of tunnels left to the server: none, because the server moves the flow of a closed one."""
        return 0

    def close(self) -> None:
        """Do nothing: ``disconnect`` has closed the idle tunnels."""

    def assigned(self, tunnel: "_Tunnel") -> None:
        """Report the user of a tunnel to which the server assigned a target; the pool replaces the tunnel."""
        self._idle.discard(tunnel)
        self._assigned.add(tunnel)
        self._events.arrived(tunnel)

    def closed(self, tunnel: "_Tunnel") -> None:
        """Forget a closed tunnel."""
        self._idle.discard(tunnel)
        self._assigned.discard(tunnel)
        if not self._connected and not self._assigned:
            self._announce_no_more()

    def probe(self) -> None:
        """Ask for a sign of life; tunnels through which nothing arrives from now on may be dead, too."""
        super().probe()
        for tunnel in self._assigned:
            tunnel.doubtful = True

    def announce(self) -> None:
        """Announce the tunnels, whose addresses may have changed."""
        if self._announcing:
            self._announce_no_more()
            self._announce_all(self.relay.patience.announce)

    def unheard(self, tunnel: "_Tunnel") -> None:
        """Announce a tunnel through which nothing arrives: the server may know another address."""
        if not self.dialect.repeats:
            return
        now = self._loop.time()
        if now - self._looked > self.relay.patience.unheard:
            self._looked = now
            self._follow()
        tunnel.announce()

    def _follow(self) -> None:
        """Move the tunnels to the address that this machine has towards the server now."""
        try:
            with self._dial() as sock:
                ends = _ends(sock)
            for tunnel in (*self._idle, *self._assigned):
                if tunnel.ends != ends:
                    tunnel.move(self._dial())
        except OSError:  # no route at the moment
            return

    def _leave_doubtful(self) -> None:
        """Give tunnels that may be dead other sockets: a router can forget what to do with the old ones for ever."""
        with contextlib.suppress(OSError):  # no route at the moment
            for tunnel in self._assigned:
                if tunnel.doubtful:
                    tunnel.move(self._dial())

    def _dial(self) -> socket.socket:
        return _connect(*self._server, self._settings.tunnel_options)

    def _dial_for_user(self) -> socket.socket | None:
        """Return a socket, or None if it would take a descriptor of those that are not for users."""
        sock = self._dial()
        if sock.fileno() < self.relay.poller.descriptors.users_end():
            return sock
        sock.close()
        return None

    def _make_room(self) -> bool:
        """Close a flow that is silent, or may be that of a former server; return whether there is one."""
        return self.relay.flows.make_room(max(self._since, self._loop.time() - self.relay.patience.silent_flow))

    def _begin(self) -> None:
        self._beginning = None
        wanted, self._opening = self._opening, 0
        for _ in range(wanted):
            self.open()

    def _dialect_of_server(self) -> ClientDialect:
        if not self._door.keys:
            return V072Client(self._settings.tokens)
        from .udp_protected import ProtectedClient  # noqa: PLC0415 - loads cryptography

        return ProtectedClient(self._door.keys, self.relay.copies)

    def _announce_no_more(self) -> None:
        if self._announcing:
            self._announcing.cancel()
            self._announcing = None

    def _announce_after(self, pause: float) -> None:
        pause = min(pause, self.relay.patience.announce)
        self._announcing = self._loop.call_later(pause, self._announce_all, 2 * pause)

    def _announce_all(self, pause: float) -> None:
        self._announce_after(pause)
        self._follow()
        goes_on, self._unannounced = bool(self._unannounced), [*self._idle, *self._assigned]
        if not goes_on:
            self._announce_some()

    def _announce_some(self) -> None:
        """Announce a few tunnels in this turn of the event loop, and the others in the next ones."""
        some = self._unannounced[-_MOST_ANNOUNCED:]
        del self._unannounced[-_MOST_ANNOUNCED:]
        if self._unannounced:
            self._loop.call_soon(self._announce_some)
        for tunnel in some:
            if tunnel in self._idle or tunnel in self._assigned:
                tunnel.announce()


def _connect(host: str, port: int, options: SocketOptions) -> socket.socket:
    family, address = numeric_address(host, port)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        prepare(sock)
        options.steer(sock)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _ends(sock: socket.socket) -> tuple[str, tuple[Any, ...]]:
    """Return the local address without its port, and the server's."""
    return sock.getsockname()[0], sock.getpeername()


class _Tunnel:
    """A socket that waits for a flow, the arrival of that flow, and then its near end."""

    __slots__ = (
        "_announced",
        "_early",
        "_flow",
        "_heard",
        "_line",
        "_name",
        "_owner",
        "_socket",
        "doubtful",
        "ends",
        "target",
    )
    datagrams = True

    def __init__(self, owner: UdpClient, sock: socket.socket) -> None:
        self._owner = owner
        self._use(sock)
        self._heard = True  # from the server since the last datagrams of the target
        self.doubtful = False  # the server has been asked for a sign of life, and nothing has arrived since
        self._announced = 0.0  # time of the last announcement
        self._name = secrets.token_bytes(TUNNEL_SIZE)
        flows = owner.relay.flows
        self._early = DatagramQueue(flows.counters, room=flows.room.of(owner))  # before the target's socket was ready
        self._flow: Flow | None = None
        self._line: Line  # if there is a target
        self.target = ""

    def announce(self) -> None:
        """Announce this tunnel, with or without an assignment."""
        self._announced = time.monotonic()
        number = self._line.number if self.target else IDLE
        self._socket.send(self._owner.dialect.announce(self._name, number))

    def move(self, sock: socket.socket) -> None:
        """Use another socket, and announce it. Raises OSError if it can't be watched; the present one stays then."""
        before = self._socket
        self._use(sock)
        before.close()
        self.announce()

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target through ``sock``, a UDP socket that is connected to it."""
        flows = self._owner.relay.flows
        flow = self._flow = Flow(flows, self, self.target, traffic, flows.counters, done=done)
        connect_flow(self._owner.relay.poller, flow, sock)
        if early := self._early.take():
            flow.from_near(early)

    def refuse(self, *, reset: bool) -> None:
        """Close the tunnel."""
        del reset
        self.close()

    def send(self, batch: Batch) -> None:
        """Send datagrams of the target to the server."""
        if self._heard:
            self._heard = False
        elif time.monotonic() - self._announced > self._owner.relay.patience.unheard:
            self._owner.unheard(self)
        self._line.send(batch, self._transmit)

    def close(self) -> None:
        """Close the socket, and drop the datagrams that wait."""
        self._socket.close()
        self._early.close()
        self._flow = None
        self._owner.closed(self)

    def _transmit(self, batch: Batch) -> None:
        """Send datagrams of the flow, or a copy of them, unless it has ended."""
        if self._flow:
            self._socket.send(batch)

    def _use(self, sock: socket.socket) -> None:
        relay = self._owner.relay
        self._socket = DatagramSocket(relay.poller, sock, self._received, relay.flows.counters)
        self.ends = _ends(sock)

    def _received(self, batch: Batch, address: Address) -> None:
        self._heard = True
        self.doubtful = False
        batch = self._line.open(batch, address) if self.target else self._after_assignment(batch, address)
        if batch and self._flow:
            self._flow.from_near(batch)
        else:
            self._early.send(batch)

    def _after_assignment(self, batch: Batch, address: Address) -> Batch:
        """Find the assignment; return the flow's datagrams after it. Those before it can't be used."""
        for position, datagram in enumerate(batch):
            if received := self._owner.dialect.read(self._name, datagram, self._owner.relay.flows.counters):
                self._assigned(received)
                return received.line.open(batch[position + 1 :], address)
        return []

    def _assigned(self, received: Received) -> None:
        try:
            parse_target(received.target)
        except BadTargetError:
            # With v0.7.2 the target may be lost or overtaken. This is a user's datagram then, which must not be logged,
            # and the server will not use this tunnel for anything else.
            self.close()
            return
        self._line = received.line
        self.target = received.target
        self.announce()
        self._owner.assigned(self)
