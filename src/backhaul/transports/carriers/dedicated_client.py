"""One tunnel connection for each user, on the client: idle ones wait for a target."""

import socket
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Protocol

from backhaul.relay.fit import Fit
from backhaul.transports.client_end import Arrival, Door
from backhaul.transports.connection import Connection
from backhaul.transports.settings import ClientSettings
from backhaul.wire.peer import Peer

from .client import PooledClient
from .survivors import Survivors

if TYPE_CHECKING:
    from .resources import DedicatedClientResources


class IdleConnection(Hashable, Protocol):
    """An idle tunnel connection on the client; owns the connection and watches it."""

    @property
    def sock(self) -> socket.socket:
        """The connection."""

    @property
    def peer(self) -> Peer:
        """The server, as far as this connection has shown it."""

    @property
    def reused(self) -> bool:
        """True if the connection comes back after a user."""

    def close(self) -> None:
        """Close the connection."""


class IdleOwner(Hashable, Protocol):
    """The owner of idle connections on the client, to which they report."""

    def addressed(self, carrier: IdleConnection, arrival: Arrival | None) -> None:
        """Handle a connection to which the server assigned a target, or that is closed (None)."""

    def carrier_free(self, carrier: IdleConnection) -> None:
        """Keep a connection whose user has ended cleanly for another one."""

    def carrier_lost(self, carrier: IdleConnection) -> None:
        """Forget a connection that was closed with its user."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""


MakeIdle = Callable[[Connection, IdleOwner], IdleConnection]


class DedicatedClient(PooledClient[IdleConnection]):
    """The client's end: connections that wait for a target."""

    def __init__(
        self, settings: ClientSettings, door: Door, make_idle: MakeIdle, relay: "DedicatedClientResources"
    ) -> None:
        super().__init__(settings, door, relay.resumption)
        self._make_idle = make_idle
        self._survivors = Survivors(relay)
        self._reusing = False
        self._lent: set[IdleConnection] = set()  # those with a user that come back to this control channel

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""
        return len(self._carriers)

    @property
    def spare(self) -> int:
        """The connections that a server does not need when it asks; one that reuses them asks when none is idle."""
        return 0 if self._reusing else self.idle

    @property
    def shared(self) -> int:
        """The number of connections that have users, and serve others later."""
        return len(self._lent)

    @property
    def in_use(self) -> bool:
        """True while connections have users."""
        return bool(self._lent)

    @property
    def connections(self) -> int:
        """The number of tunnel connections that wait, are lent or are being dialled."""
        return super().connections + len(self._lent)

    @property
    def leaving(self) -> int:
        """The number of connections of a lost control channel that the server has not closed yet."""
        return len(self._leaving)

    def addressed(self, carrier: IdleConnection, arrival: Arrival | None) -> None:
        """Pass on the user of a connection; the pool replaces the connection unless it comes back."""
        lent = carrier.reused and carrier in self._carriers
        self._forget(carrier)
        if not arrival:
            return
        if lent and not arrival.datagrams:
            self._lent.add(carrier)
        else:
            self._survivors.add(carrier.sock)
        self._events.arrived(arrival)

    async def connect(self) -> str:
        """Open the control channel, and end users whose lines have died with the one before."""
        address = await super().connect()
        self._survivors.connected()
        return address

    def disconnect(self) -> None:
        """Close the control channel; connections that are lent are left to the server after their users."""
        for carrier in self._lent:
            self._survivors.add(carrier.sock)
        self._lent.clear()
        super().disconnect()

    def carrier_free(self, carrier: IdleConnection) -> None:
        """Keep the connection among the idle ones. Without its control channel the server may still use it."""
        if carrier in self._lent:
            self._lent.discard(carrier)
            self._carriers.add(carrier)
        else:
            self._leaving.add(carrier)
            self._loop.call_later(self._leave, self._release, [carrier])

    def carrier_lost(self, carrier: IdleConnection) -> None:
        """Forget a connection that was closed with its user."""
        self._lent.discard(carrier)

    def _begin(self, connection: Connection, among: set[IdleConnection]) -> None:
        carrier = self._make_idle(connection, self)
        if among is self._carriers:  # not one of the previous control channel
            self._reusing = carrier.reused
        among.add(carrier)

    def _close_idle(self, carrier: IdleConnection) -> None:
        self._forget(carrier)
        carrier.close()
