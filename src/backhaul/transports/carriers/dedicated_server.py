"""One tunnel connection for each user, on the public end: the carrier of tcp, ws and wss.

Transports differ in how a connection waits and how a target is announced on it (plain bytes, WebSocket messages), not
in how idle connections are kept and used. Between two ends with session keys a connection serves one user after the
other.
"""

import socket
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.net.deadlines import Deadlines
from backhaul.relay.fit import Fit
from backhaul.relay.flows import Flow
from backhaul.relay.lent_channel import LentChannel
from backhaul.transports.connection import Connection
from backhaul.transports.public_end import Carry, Gate
from backhaul.transports.session import ClientSession, dial_time
from backhaul.transports.settings import CarrierLimits, ServerSettings
from backhaul.transports.user import User
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

from .cuts import Cuts
from .fleet import Fleet
from .server import GatedServer
from .survivors import Survivors

if TYPE_CHECKING:
    from .resources import DedicatedResources

_RETURN: Final = 60.0  # seconds for the client to give back a connection whose user has gone; a target may be slow


class IdleCarrier(Hashable, Protocol):
    """An idle tunnel connection on the public end; owns the connection and watches it."""

    @property
    def sock(self) -> socket.socket:
        """The connection."""

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


class CarrierOwner(Hashable, Protocol):
    """The owner of idle connections on the public end, to which they report."""

    @property
    def session(self) -> ClientSession:
        """The session of the client."""

    @property
    def returning(self) -> Deadlines[LentChannel]:
        """The channels whose user has gone, and which wait for the client."""

    def carrier_wanted(self, carrier: IdleCarrier, users: int, opened: float) -> bool:
        """Return whether a carrier may serve another user.

        It has had ``users`` since ``opened``, by the loop's clock.
        """

    def carrier_free(self, carrier: IdleCarrier) -> None:
        """Keep a carrier whose user has ended cleanly for another one."""

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
        relay: "DedicatedResources",
    ) -> None:
        super().__init__(settings, limits, gate)
        self._make_carrier = make_carrier
        self._loop = relay.loop
        self._descriptors = relay.poller.descriptors
        self._fleet: Fleet[IdleCarrier] = Fleet(relay, self)
        self._survivors = Survivors(relay)
        self._cuts = Cuts(relay, relay.loop.time)
        self._short = False  # a user or flow has found no connection, and the control plane was not called since
        self.returning: Deadlines[LentChannel] = Deadlines(_RETURN, LentChannel.close)
        # The time since which each is idle. It finds either end in constant time, unlike a dict.
        self._idle: OrderedDict[IdleCarrier, float] = OrderedDict()

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """The number of users without a connection."""
        return self._events.waiting

    @property
    def dial_time(self) -> float:
        """The seconds that the client needs to open a connection, 0 if unknown."""
        return dial_time(self.session)

    def client_connected(self, session: ClientSession) -> None:
        """Serve this client, and end those of its users whose lines have died with the control channel before."""
        self._survivors.connected()
        self._cuts.forget()
        super().client_connected(session)

    def request(self) -> None:
        """Request a connection from the client."""
        self.session.send(Signal.CHANNEL)

    def expect_user(self, waiting: int) -> None:
        """Request a connection; if they are reused, only if those idle or on their way do not suffice."""
        if self.session.keys is None:  # connections of v0.7.2 are not reused
            super().expect_user(waiting)
        elif len(self._idle) <= self._fleet.reserve:  # otherwise no user waits, and there is one for this user
            self._fleet.expect(max(waiting, self.waiting))

    def beat(self) -> None:
        """Send the heartbeat, and ping the idle connections."""
        super().beat()
        for carrier in list(self._idle):
            carrier.ping()

    def assign(self, user: User) -> bool:
        """Assign the user to the connection whose turn it is; return False if none is idle."""
        while self._idle:
            carrier, since = self._take()
            try:
                if carrier.attach(user):
                    if self.session.keys:
                        self._fleet.doubt(since)
                    else:
                        self._survivors.add(carrier.sock)
                    return True
            except BaseException:
                carrier.abort()
                raise
            self._fleet.discard(carrier)
        self._require()
        return False

    def assign_flow(self, flow: Flow) -> Carry:
        """Assign the flow to the connection whose turn it is, if its other end can carry flows."""
        while self._idle:
            if not self._next().takes_flows:
                return Carry.REFUSED
            carrier, _ = self._take()
            self._fleet.discard(carrier)  # it is closed after a flow
            if carrier.attach_flow(flow):
                self._survivors.add(carrier.sock)
                return Carry.CARRIED
        self._require()
        return Carry.LATER

    def tunnel_opened(self, connection: Connection) -> None:
        """Keep the connection for a later user. One of v0.7.2 has shown no more than that it is open."""
        if connection.peer.extended:
            self.fit.proved()
        else:
            self.fit.seen()
        carrier = self._make_carrier(connection, self)
        if len(self._idle) >= self._limits.channel_size or not self._descriptors.keeps(connection.sock):
            carrier.close()
            return
        if self.session.keys:
            self._fleet.add(carrier)
        self._idle[carrier] = self._loop.time()
        self._events.carrier_ready()

    def carrier_wanted(self, carrier: IdleCarrier, users: int, opened: float) -> bool:
        """Return whether the carrier is of this session, and neither too old nor used up."""
        limits = self._limits
        return carrier in self._fleet and users < limits.max_users and self._loop.time() - opened < limits.max_age

    def carrier_free(self, carrier: IdleCarrier) -> None:
        """Keep a carrier for another user, who gets the one that was used last."""
        if carrier not in self._fleet or len(self._idle) >= self._limits.channel_size:
            self._close(carrier)
            return
        self._idle[carrier] = self._loop.time()
        if self._short:
            self._short = False
            self._events.carrier_ready()

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """Forget a closed carrier; the client notices it too, and dials another."""
        since = self._idle.pop(carrier, None)
        if since is not None and self.session.keys:  # one of v0.7.2 may close them as it likes
            self._cuts.ended(self._loop.time() - since)
        self._fleet.discard(carrier)

    def close_idle(self, count: int) -> None:
        """Close the carriers that have been idle for longest."""
        for _ in range(min(count, len(self._idle))):
            self._close(self._idle.popitem(last=False)[0])

    def carrier_spoke(self, carrier: IdleCarrier, sock: socket.socket, data: bytes) -> None:
        """Pass the bytes to the gate: they are garbage, or a handshake while the old control channel looked alive."""
        self._idle.pop(carrier, None)
        self._gate.rehandshake(sock, data)

    def _require(self) -> None:
        self._short = True
        if self.session.keys:
            self._fleet.require(max(1, self.waiting))

    def _take(self) -> tuple[IdleCarrier, float]:
        """Return an idle connection, which the caller owns, and the time since which it is idle."""
        carrier = self._next()
        since = self._idle.pop(carrier)
        self._fleet.taken(len(self._idle))
        return carrier, since

    def _next(self) -> IdleCarrier:
        return next(reversed(self._idle) if self.session.vouches else iter(self._idle))

    def _close(self, carrier: IdleCarrier) -> None:
        carrier.close()
        self._fleet.discard(carrier)

    def _drop_idle(self) -> None:
        for carrier in self._fleet.clear() - self._idle.keys():
            self._survivors.add(carrier.sock)
        for channel in self.returning.clear():
            channel.close()
        while self._idle:
            self._take()[0].close()
