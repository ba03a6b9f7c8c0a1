"""The public end of transport udp: one UDP socket for all tunnels, which are addresses that the client announced."""

import asyncio
import itertools
import logging
import math
from collections import OrderedDict
from collections.abc import Iterable

from backhaul.net.endpoints import Address
from backhaul.net.poller import release
from backhaul.net.udp import Counters, DatagramSocket
from backhaul.relay.engine import Relay
from backhaul.relay.flows import Flow
from backhaul.transports.base import Carry, Gate, ServerEvents
from backhaul.transports.connection import Connection
from backhaul.transports.session import ClientSession
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.transports.user import User
from backhaul.wire.announcements import IDLE, PING, Announcement
from backhaul.wire.datagrams import Batch
from backhaul.wire.signals import Signal

from .server import GatedServer
from .udp_dialect import Assigned, ServerDialect, V072Server

log = logging.getLogger("backhaul.tunnel")


class UdpServer(GatedServer):
    """Idle tunnels in the order of their last sign of life; the most recent one is used first."""

    def __init__(self, settings: ServerSettings, limits: CarrierLimits, gate: Gate, relay: Relay) -> None:
        super().__init__(settings, limits, gate)
        self._loop = asyncio.get_running_loop()
        self._relay = relay
        self._by_address: dict[Address, _Tunnel] = {}
        self._by_name: dict[bytes, _Tunnel] = {}  # those of clients that name their tunnels
        self._idle: OrderedDict[_Tunnel, None] = OrderedDict()
        self._pinging: asyncio.TimerHandle | None = None  # set while there is a control channel
        self._socket: DatagramSocket | None = None
        self._serials = itertools.count(1)  # of sessions
        self._dialect: ServerDialect = self._v072()  # of the client, even after the loss of its control channel
        self._before: ServerDialect = self._dialect  # of the one before: its last messages may arrive late
        self.sizes = self._dialect.sizes
        """The sizes of messages about tunnels."""
        self.dropped = 0  # idle tunnels beyond channel_size

    @property
    def idle(self) -> int:
        """The number of tunnels that wait for a flow."""
        return len(self._idle)

    def start(self, events: ServerEvents) -> None:
        """Listen for the control channel and, on the same port, for tunnels; raises OSError."""
        sock = self._settings.listeners.datagrams(self._settings.bind_host, self._settings.bind_port)
        try:
            super().start(events)
        except OSError:
            sock.close()
            raise
        self._socket = DatagramSocket(self._relay.poller, sock, self._received, Counters())

    def beat(self) -> None:
        """Send the heartbeat, and ping the idle tunnels."""
        super().beat()
        self._ping(self._idle)

    def client_connected(self, session: ClientSession) -> None:
        """Tell the control plane, and keep tunnels alive that do not announce themselves."""
        self._before, self._dialect = self._dialect, self._dialect_of(session)
        self.sizes = frozenset(self._before.sizes) | frozenset(self._dialect.sizes)
        super().client_connected(session)
        self._ping_later()

    def assign(self, user: User) -> bool:
        """Return False: this transport carries no streams."""
        del user
        return False

    def assign_flow(self, flow: Flow) -> Carry:
        """Assign the idle tunnel with the most recent sign of life, if there is one."""
        tunnel = self._take()
        if not tunnel:
            return Carry.LATER
        tunnel.assign(flow, self._dialect)
        return Carry.CARRIED

    def stop_listening(self) -> None:
        """Close the socket; its flows end with it, and a user's next datagram begins another one."""
        super().stop_listening()
        for tunnel in list(self._by_address.values()):
            tunnel.end()
        if self._socket:
            self._socket.close()
            self._socket = None

    def _drop_idle(self) -> None:
        self._stop_pinging()
        for tunnel in list(self._idle):
            self.forget(tunnel)

    def tunnel_opened(self, connection: Connection) -> None:
        """Pass the connection to the gate: no tunnel is a TCP connection, so this is a client that returns."""
        if connection.peer.extended:
            release(self._relay.poller, connection.sock)
        else:
            self._gate.rehandshake(connection.sock, connection.received)

    def transmit(self, batch: Batch, address: Address) -> None:
        """Send to the client."""
        if self._socket:
            self._socket.send(batch, address)

    def replace(self, flow: Flow) -> "_Tunnel | None":
        """Move a flow from a tunnel that leads nowhere to another one, and return that; None if none is idle."""
        tunnel = self._take()
        if tunnel:
            log.debug("no sign of life from a tunnel to %s: its flow moves to another", flow.target)
            self.session.send(Signal.CHANNEL)
            tunnel.assign(flow, self._dialect, again=True)
        return tunnel

    def forget(self, tunnel: "_Tunnel") -> None:
        """Forget a closed tunnel."""
        self._idle.pop(tunnel, None)
        self._by_address.pop(tunnel.address, None)
        self._by_name.pop(tunnel.name, None)

    def announced(self, announcement: Announcement, order: int, address: Address) -> None:
        """Note that a tunnel is at this address; an announcement of lower ``order`` may have been overtaken."""
        tunnel = self._by_name.get(announcement.tunnel)
        if not tunnel:
            if announcement.number == IDLE:  # otherwise it belongs to a flow that has ended here already
                self._make_room(address)
                self._add(_Tunnel(self, self._relay, announcement.tunnel, address, order))
        elif announcement.number not in {IDLE, tunnel.number}:  # the client serves a flow that had the tunnel before
            tunnel.end()
        else:
            self._still_there(tunnel, announcement, order, address)

    def announced_unnamed(self, address: Address) -> None:
        """Note that a v0.7.2 client has an idle tunnel at this address."""
        if address not in self._by_address:
            self._add(_Tunnel(self, self._relay, b"", address))

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Act on a message about tunnels; return False for a datagram of a flow."""
        return self._dialect.take(datagram, address) or self._before.take(datagram, address)

    def _received(self, batch: Batch, address: Address) -> None:
        tunnel = self._by_address.get(address)
        if tunnel and tunnel.flow:
            tunnel.received(batch)
        elif self.session.connected:
            for datagram in batch:  # without a proof there is no answer
                self._dialect.introduce(datagram, address)

    def _v072(self) -> V072Server:
        return V072Server(self._settings.credentials, self, self)

    def _dialect_of(self, session: ClientSession) -> ServerDialect:
        if not session.keys:
            return self._v072()
        from .udp_protected import ProtectedServer  # noqa: PLC0415 - loads cryptography

        return ProtectedServer(session.keys, next(self._serials), self, self)

    def _still_there(self, tunnel: "_Tunnel", announcement: Announcement, order: int, address: Address) -> None:
        tunnel.alive(confirmed=announcement.number != IDLE)
        if tunnel in self._idle:
            self._idle.move_to_end(tunnel)
        if order >= tunnel.order:
            tunnel.order = order
            self._move(tunnel, address)

    def _take(self) -> "_Tunnel | None":
        return self._idle.popitem()[0] if self._idle else None

    def _add(self, tunnel: "_Tunnel") -> None:
        if len(self._idle) >= self._limits.channel_size:
            self.dropped += 1
            self.forget(next(iter(self._idle)))
        self._by_address[tunnel.address] = tunnel
        if tunnel.name:
            self.fit.proved()
            self._by_name[tunnel.name] = tunnel
        else:
            self.fit.seen()
        self._idle[tunnel] = None
        self._events.carrier_ready()

    def _ping(self, tunnels: Iterable["_Tunnel"]) -> None:
        for tunnel in tunnels:
            self.transmit([PING], tunnel.address)

    def _ping_later(self) -> None:
        self._stop_pinging()
        self._pinging = self._loop.call_later(self._relay.patience.ping, self._ping_unnamed)

    def _ping_unnamed(self) -> None:
        """Ping the tunnels of v0.7.2; others are announced by their client."""
        self._ping(tunnel for tunnel in self._idle if not tunnel.name)
        self._ping_later()

    def _stop_pinging(self) -> None:
        if self._pinging:
            self._pinging.cancel()
            self._pinging = None

    def _move(self, tunnel: "_Tunnel", address: Address) -> None:
        if tunnel.address != address:
            log.debug("a tunnel has moved to another address")
            self._make_room(address)
            del self._by_address[tunnel.address]
            tunnel.address = address
            self._by_address[address] = tunnel

    def _make_room(self, address: Address) -> None:
        """Forget the tunnel at this address, which belongs to another one now."""
        if before := self._by_address.get(address):
            before.end()


class _Tunnel:
    """An address of the client; once it is assigned, the far end of a flow."""

    __slots__ = (
        "_alive_at", "_assigned", "_confirmed", "_loop", "_owner", "_patience", "_relay", "_unanswered",
        "address", "flow", "name", "order",
    )  # fmt: skip

    def __init__(self, owner: UdpServer, relay: Relay, name: bytes, address: Address, order: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._relay = relay
        self._alive_at = self._loop.time()
        self._assigned: Assigned  # if there is a flow
        self._confirmed = False  # until then the assignment is repeated before every batch
        self._unanswered = 0.0  # time since which the user has been sending without a sign of life; 0 after one
        self._patience = relay.patience.sign_of_life  # seconds
        self.name = name  # empty if the client is v0.7.2
        self.address = address
        self.order = order  # of the announcement that told the address
        self.flow: Flow | None = None

    @property
    def number(self) -> int:
        """The number of its assignment."""
        return self._assigned.line.number if self.flow else IDLE

    def assign(self, flow: Flow, dialect: ServerDialect, *, again: bool = False) -> None:
        """Become the far end of ``flow``; ``again`` if it had another tunnel, without a sign of life."""
        self.flow = flow
        self._assigned = dialect.assign(self.name, flow.target, flow.counters)
        if again and not self._may_be_forgotten():  # a flow that is never answered, as some are, moves only once
            self._unanswered = math.inf
        flow.attach(self)

    def received(self, batch: Batch) -> None:
        """Pass datagrams of the client to the user, except messages about the tunnel."""
        answers = self._assigned.line.open(batch, self.address)
        if answers and self.flow:
            self.alive(confirmed=True)
            self.flow.from_far(answers)

    def alive(self, *, confirmed: bool) -> None:
        """Note a sign of life of the client; with ``confirmed`` it has received the assignment."""
        self._unanswered = 0.0
        self._alive_at = self._loop.time()
        if not self.name:
            self._patience = self._relay.patience.sign_of_life_v072
        if confirmed:
            self._confirmed = True

    def send(self, batch: Batch) -> None:
        """Send a user's datagrams to the client; move the flow to another tunnel if this one leads nowhere."""
        now = self._loop.time()
        if not self._unanswered:
            self._unanswered = now
            if self._may_be_forgotten():
                self._patience = self._relay.patience.forgotten_reply
        elif now - self._unanswered > self._patience and self.flow and (other := self._owner.replace(self.flow)):
            other.send(batch)
            return
        if not self._confirmed:
            self._owner.transmit([self._assigned.message()], self.address)
            if not self.name:  # v0.7.2 would pass a second one on to the target
                self._confirmed = True
        self._owner.transmit(self._assigned.line.seal(batch), self.address)

    def close(self) -> None:
        """Give up the address, because the flow has ended."""
        self.flow = None
        self._owner.forget(self)

    def end(self) -> None:
        """Close the tunnel, because the client has left its address."""
        if self.flow:
            self.flow.close()
        else:
            self._owner.forget(self)

    def _may_be_forgotten(self) -> bool:
        """Return whether the client has been silent for so long that a NAT may have dropped its mapping.

        Any other client would announce the tunnel; without an announcement it has left.
        """
        return not self.name and self._loop.time() - self._alive_at > self._relay.patience.forgotten
