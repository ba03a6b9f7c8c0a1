"""One tunnel connection for each user: the carrier of tcp, ws and wss.

Transports differ in how a connection waits and how a target is announced on it (plain bytes, WebSocket messages), not
in how idle connections are kept and used.
"""

import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from backhaul.relay.fit import Fit
from backhaul.relay.flows import Flow
from backhaul.transports.base import Arrival, Carry, Door, Gate
from backhaul.transports.connection import Connection
from backhaul.transports.session import ClientSession
from backhaul.transports.settings import CarrierLimits, ClientSettings, ServerSettings
from backhaul.transports.user import User
from backhaul.wire.peer import Peer

from .client import PooledClient
from .server import GatedServer


class IdleCarrier(Protocol):
    """An idle tunnel connection on the public end; owns the connection and watches it."""

    @property
    def peer(self) -> Peer:
        """The other end, as far as this connection has shown it."""

    @property
    def takes_flows(self) -> bool:
        """True if the other end can carry flows on this transport."""

    def attach(self, user: User) -> bool:
        """Announce the target and join both; return False, with the user untouched, if the connection is dead.

        It is closed then, or it belongs to the owner that got its first bytes.
        """

    def attach_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end; False as with ``attach``."""

    def ping(self) -> None:
        """Keep middleboxes on the way from forgetting the connection."""

    def close(self) -> None:
        """Close the connection."""

    def abort(self) -> None:
        """Close the connection with a reset, because bytes may have left in part."""


class CarrierOwner(Protocol):
    """The owner of idle connections on the public end, to which they report."""

    @property
    def session(self) -> ClientSession:
        """The session of the client."""

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """Forget a carrier that is closed."""

    def carrier_spoke(self, carrier: IdleCarrier, sock: socket.socket, data: bytes) -> None:
        """Handle bytes of a carrier, which sends none while it is idle; takes over the socket."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""


MakeCarrier = Callable[[Connection, CarrierOwner], IdleCarrier]


class DedicatedServer(GatedServer):
    """The public end: idle connections in the order of their arrival.

    The newest is used first, because NATs and proxies have had the least time to forget it. Among connections that are
    known by their address alone it is the oldest: a neighbour who opens one for each user would otherwise get them all.
    """

    def __init__(
        self,
        settings: ServerSettings,
        limits: CarrierLimits,
        gate: Gate,
        make_carrier: MakeCarrier,
    ) -> None:
        super().__init__(settings, limits, gate)
        self._make_carrier = make_carrier
        self._idle: OrderedDict[IdleCarrier, None] = OrderedDict()  # finds either end in constant time, unlike a dict

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""
        return len(self._idle)

    def beat(self) -> None:
        """Send the heartbeat, and ping the idle connections."""
        super().beat()
        for carrier in list(self._idle):
            carrier.ping()

    def assign(self, user: User) -> bool:
        """Assign the user to the connection whose turn it is; return False if none is idle."""
        while self._idle:
            carrier = self.take()
            try:
                if carrier.attach(user):
                    return True
            except BaseException:
                carrier.abort()
                raise
        return False

    def assign_flow(self, flow: Flow) -> Carry:
        """Assign the flow to the connection whose turn it is, if its other end can carry flows."""
        while self._idle:
            if not self._next().takes_flows:
                return Carry.REFUSED
            if self.take().attach_flow(flow):
                return Carry.CARRIED
        return Carry.LATER

    def take(self) -> IdleCarrier:
        """Return an idle connection, which the caller owns; call it only while ``idle``."""
        carrier = self._next()
        del self._idle[carrier]
        return carrier

    def tunnel_opened(self, connection: Connection) -> None:
        """Keep the connection for a later user. One of v0.7.2 has shown no more than that it is open."""
        if connection.peer.extended:
            self.fit.proved()
        else:
            self.fit.seen()
        carrier = self._make_carrier(connection, self)
        if len(self._idle) >= self._limits.channel_size:
            carrier.close()
            return
        self._idle[carrier] = None
        self._events.carrier_ready()

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """Forget a closed carrier; the client notices it too, and dials another."""
        self._idle.pop(carrier, None)

    def carrier_spoke(self, carrier: IdleCarrier, sock: socket.socket, data: bytes) -> None:
        """Pass the bytes to the gate: they are garbage, or a handshake while the old control channel looked alive."""
        self._idle.pop(carrier, None)
        self._gate.rehandshake(sock, data)

    def _next(self) -> IdleCarrier:
        return next(reversed(self._idle) if self.session.vouches else iter(self._idle))

    def _drop_idle(self) -> None:
        while self._idle:
            self.take().close()


class IdleConnection(Protocol):
    """An idle tunnel connection on the client; owns the connection and watches it."""

    @property
    def peer(self) -> Peer:
        """The server, as far as this connection has shown it."""

    def close(self) -> None:
        """Close the connection."""


class IdleOwner(Protocol):
    """The owner of idle connections on the client, to which they report."""

    def addressed(self, carrier: IdleConnection, arrival: Arrival | None) -> None:
        """Handle a connection to which the server assigned a target, or that is closed (None)."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""


MakeIdle = Callable[[Connection, IdleOwner], IdleConnection]


class DedicatedClient(PooledClient[IdleConnection]):
    """The client's end: connections that wait for a target."""

    def __init__(self, settings: ClientSettings, door: Door, make_idle: MakeIdle) -> None:
        super().__init__(settings, door)
        self._make_idle = make_idle

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""
        return len(self._carriers)

    @property
    def leaving(self) -> int:
        """The number of connections of a lost control channel that the server has not closed yet."""
        return len(self._leaving)

    def addressed(self, carrier: IdleConnection, arrival: Arrival | None) -> None:
        """Pass on the user of a connection; the pool replaces the connection."""
        self._forget(carrier)
        if arrival:
            self._events.arrived(arrival)

    def _begin(self, connection: Connection, among: set[IdleConnection]) -> None:
        among.add(self._make_idle(connection, self))

    def _close_idle(self, carrier: IdleConnection) -> None:
        self._forget(carrier)
        carrier.close()
