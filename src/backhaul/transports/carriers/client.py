"""The client's tunnel connections of any kind: dialled, then in use or idle, then left to the server."""

import asyncio
import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

from backhaul.relay.fit import Fit
from backhaul.relay.resumption import Resumption
from backhaul.transports.client_end import Answer, ClientEvents, Door
from backhaul.transports.connection import Connection
from backhaul.transports.settings import ClientSettings
from backhaul.wire.checks import Check, Health
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

if TYPE_CHECKING:
    from backhaul.mux.resumable_link import ResumableLink

log = logging.getLogger("backhaul.tunnel")

Carrier = TypeVar("Carrier")


class DoorClient:
    """The common part of the client's ends of all transports: a door, and its reports to the control plane."""

    _events: ClientEvents

    def __init__(self, door: Door, resumption: Resumption) -> None:
        self._door = door
        self._resumption = resumption

    def start(self, events: ClientEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events
        self._door.start(self)

    def _enter(self) -> None:
        """Take over the sessions with this server that transports before this one have left."""
        self._resumption.enter(self._door.server.instance, self)

    def take_over(self, link: "ResumableLink") -> None:
        """End a session without a connection: no connection of this transport can resume it."""
        if link.parked:
            link.end("the transport that took its place has no sessions")

    def tell_ended(self, identity: bytes) -> None:
        """Tell the server that this end has ended a session."""
        self._door.tell_ended(identity)

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel, if there is one."""
        self._door.send(signal)

    def refuse(self, target: str, reason: str) -> None:
        """Tell a server with extensions why a target is not dialled."""
        self._door.refuse(target, reason)

    def report(self, health: Health) -> None:
        """Tell the server the outcome of a health check."""
        self._door.report(health)

    def refused(self, instance: bytes) -> None:
        """End the sessions that the server does not have, if it has started again."""
        if instance:
            self._resumption.refused_by(instance, self.server_address)

    def check_requested(self, check: Check) -> None:
        """Pass the request to the control plane."""
        self._events.check_requested(check)

    @property
    def protected(self) -> bool:
        """True while the control channel is protected."""
        return self._door.protected

    @property
    def server(self) -> Peer:
        """The server of the last control channel."""
        return self._door.server

    @property
    def server_address(self) -> str:
        """Host and port of the server, as the configuration has them."""
        return self._door.server_address

    @property
    def in_use(self) -> bool:
        """True while users are on connections that only the control channel shows to be dead."""
        return False

    @property
    def urgent(self) -> bool:
        """True while users in flight may need a control channel, to go on."""
        return False

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""
        return self._door.can_ask

    def probe(self) -> None:
        """Ask the server for a sign of life."""
        self._door.probe()

    def announce(self) -> None:
        """Do nothing: the server knows where connections are."""

    @property
    def measurable(self) -> bool:
        """True if the server may be asked on a connection of its own."""
        return self._door.measurable

    async def measure(self) -> Answer:
        """Ask the server on a connection of its own. Raises OSError or TransportError."""
        return await self._door.measure()

    def signal_received(self, signal: Signal, count: int = 1) -> None:
        """Report the signal to the control plane."""
        self._events.signal_received(signal, count)

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""
        return self._events.fit

    def control_lost(self, reason: str) -> None:
        """Tell the control plane, which will disconnect."""
        self._events.control_lost(reason)


class PooledClient(DoorClient, ABC, Generic[Carrier]):
    """The client's end of a transport with tunnel connections; subclasses use them to carry users."""

    def __init__(self, settings: ClientSettings, door: Door, resumption: Resumption) -> None:
        super().__init__(door, resumption)
        self._leave = settings.leave
        self._loop = asyncio.get_running_loop()
        self._carriers: set[Carrier] = set()  # of the present control channel
        self._leaving: set[Carrier] = set()  # their control channel is gone; the server may not know yet
        self._opening = 0

    @property
    @abstractmethod
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""

    @property
    def spare(self) -> int:
        """The number of waiting tunnel connections that the server does not need when it asks for another."""
        return self.idle

    @property
    def shared(self) -> int:
        """The number of tunnel connections that have users and take more."""
        return len(self._carriers) - self.idle

    @property
    def connections(self) -> int:
        """The number of tunnel connections that wait, are shared or are being dialled."""
        return len(self._carriers) + self._opening

    @property
    @abstractmethod
    def leaving(self) -> int:
        """The number of idle connections of a lost control channel that the server has not closed yet."""

    @abstractmethod
    def _begin(self, connection: Connection, among: set[Carrier]) -> None:
        """Take over a connection that was dialled."""

    @abstractmethod
    def _close_idle(self, carrier: Carrier) -> None:
        """Close ``carrier``, unless users are on it."""

    @property
    def opening(self) -> int:
        """The number of tunnel connections that are being dialled."""
        return self._opening

    @property
    def open_now(self) -> int:
        """The number of tunnel connections that are open, and wait or are shared."""
        return self.connections - self._opening

    @property
    def obstacle(self) -> str:
        """The reason why no user can be carried although connections can be opened; empty if there is none."""
        return ""

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        address = await self._door.connect()
        self._enter()
        return address

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""
        self._opening += 1
        self._door.dial(functools.partial(self._opened, self._carriers))

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on.

        The server closes idle connections and those that it has requested, because at this moment it may be assigning
        users to them.
        """
        left, self._carriers = self._carriers, set()
        self._leaving |= left
        self._opening = 0
        self._door.disconnect()
        self._resumption.exit(self)
        self._loop.call_later(self._leave, self._release, left)

    def close(self) -> None:
        """Close the remaining idle connections."""
        self._door.close()
        for carrier in list(self._leaving):
            self._close_idle(carrier)

    def _release(self, carriers: Iterable[Carrier]) -> None:
        for carrier in carriers:
            if carrier in self._leaving:
                self._release_idle(carrier)

    def _release_idle(self, carrier: Carrier) -> None:
        """Close a connection that the server has not closed in time, unless users are on it."""
        self._close_idle(carrier)

    def _forget(self, carrier: Carrier) -> None:
        self._carriers.discard(carrier)
        self._leaving.discard(carrier)

    def _opened(self, carriers: set[Carrier], result: Connection | Exception) -> None:
        """Take over a connection that was dialled for a control channel, which may have ended."""
        late = carriers is not self._carriers
        if not late:
            self._opening -= 1
        if isinstance(result, Exception):
            log.debug("can't open a tunnel connection: %s", result)
            if not late:
                self._events.tunnel_failed(result)
        elif late:
            before = frozenset(self._leaving)
            self._begin(result, self._leaving)
            self._loop.call_later(self._leave, self._release, self._leaving - before)
        else:
            self._events.tunnel_opened()
            self._begin(result, carriers)
