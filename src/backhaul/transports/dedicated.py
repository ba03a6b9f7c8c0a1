"""One tunnel connection for each user: the carrier of tcp, ws and wss.

How a connection waits and how the target is announced on it differs (plain bytes, WebSocket messages); keeping
the idle ones, and handing them out, does not.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Protocol

from backhaul.relay.flows import Flow
from backhaul.wire.signals import Signal

from .base import LEAVE_TIMEOUT, Arrival, ClientEvents, Door, Gate, ServerEvents, ServerSettings, User

log = logging.getLogger("backhaul.tunnel")


class IdleCarrier(Protocol):
    """An idle tunnel connection on the public end; owns the connection and watches it."""

    def carry(self, user: User) -> bool:
        """Announce the target and join the two; False, with the user untouched, if the connection is dead."""

    def carry_flow(self, flow: Flow) -> bool:
        """Announce the target and become the flow's far end; False if the connection is dead."""

    def ping(self) -> None:
        """Keep middleboxes on the way from forgetting the connection."""

    def close(self) -> None:
        """Close the connection."""


class CarrierOwner(Protocol):
    """Whom an idle connection on the public end tells what happens to it."""

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """It has died and is closed."""

    def carrier_spoke(self, carrier: IdleCarrier, sock: socket.socket, data: bytes) -> None:
        """It said something, which an idle one never does; the socket is the callee's."""


MakeCarrier = Callable[[socket.socket, bytes, bool, CarrierOwner], IdleCarrier]
"""From a connection, bytes read already, whether the other end is ours, and the owner."""


class DedicatedServer:
    """The public end: idle connections in the order in which they came, the oldest is used first."""

    def __init__(
        self,
        settings: ServerSettings,
        events: ServerEvents,
        make_gate: Callable[["DedicatedServer"], Gate],
        make_carrier: MakeCarrier,
    ) -> None:
        self._settings = settings
        self._events = events
        self._gate = make_gate(self)
        self._make_carrier = make_carrier
        self._idle: dict[IdleCarrier, None] = {}
        self.dropped = 0  # idle connections beyond channel_size

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""
        return self._gate.connected

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""
        return self._gate.rtt

    @property
    def idle(self) -> int:
        """How many tunnel connections wait for a user."""
        return len(self._idle)

    def start(self) -> None:
        """Listen; raises OSError."""
        self._gate.start()

    def expect_user(self, waiting: int) -> None:
        """Ask for the connection that will replace the one this user takes."""
        del waiting
        self._gate.send(Signal.CHANNEL)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one; with the heart beat the idle connections."""
        self._gate.send(signal)
        if signal == Signal.HEARTBEAT:
            for carrier in list(self._idle):
                carrier.ping()

    def carry(self, user: User) -> bool:
        """Hand the user to the connection that has been idle for longest; False if none is."""
        while self._idle:
            carrier = self.take()
            if carrier.carry(user):
                return True
            carrier.close()
        return False

    def carry_flow(self, flow: Flow) -> bool:
        """Hand the flow to the connection that has been idle for longest; False if none is."""
        while self._idle:
            carrier = self.take()
            if carrier.carry_flow(flow):
                return True
            carrier.close()
        return False

    def take(self) -> IdleCarrier:
        """Return an idle connection, now the caller's; KeyError-free only while `idle`."""
        carrier = next(iter(self._idle))
        del self._idle[carrier]
        return carrier

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""
        self._gate.stop_listening()
        self._close_idle()

    def control_opened(self, peer: str) -> None:
        """Tell the control plane."""
        self._events.control_opened(peer)

    def control_lost(self, reason: str) -> None:
        """Close the idle connections, which belonged to that channel, and tell the control plane."""
        self._close_idle()
        self._events.control_lost(reason)

    def tunnel_opened(self, sock: socket.socket, rest: bytes = b"", *, ours: bool) -> None:
        """Keep the connection for a user to come."""
        carrier = self._make_carrier(sock, rest, ours, self)
        if len(self._idle) >= self._settings.channel_size:
            self.dropped += 1
            carrier.close()
            return
        self._idle[carrier] = None
        self._events.carrier_ready()

    def carrier_gone(self, carrier: IdleCarrier) -> None:
        """The client notices as well, and dials another."""
        self._idle.pop(carrier, None)

    def carrier_spoke(self, carrier: IdleCarrier, sock: socket.socket, data: bytes) -> None:
        """It is the handshake of a client that came back while its old control channel looked alive, or garbage."""
        self._idle.pop(carrier, None)
        self._gate.regreet(sock, data)

    def _close_idle(self) -> None:
        while self._idle:
            self.take().close()


class WaitingCarrier(Protocol):
    """A tunnel connection on the client's side that waits for a target; owns the connection and watches it."""

    def close(self) -> None:
        """Close the connection."""


class WaitingOwner(Protocol):
    """Whom a waiting connection tells what happens to it."""

    def addressed(self, carrier: WaitingCarrier, arrival: Arrival | None) -> None:
        """The server has named a target, or (None) the connection is gone."""


MakeWaiting = Callable[[socket.socket, bytes, bool, WaitingOwner], WaitingCarrier]
"""From a connection, bytes read already, whether the other end is ours, and the owner."""


class DedicatedClient:
    """The client's side: connections that wait for a target."""

    def __init__(
        self, events: ClientEvents, make_door: Callable[["DedicatedClient"], Door], make_waiting: MakeWaiting
    ) -> None:
        self._events = events
        self._door = make_door(self)
        self._make_waiting = make_waiting
        self._loop = asyncio.get_running_loop()
        self._waiting: set[WaitingCarrier] = set()
        self._leaving: set[WaitingCarrier] = set()  # their control channel is gone; the server may not know yet
        self._opening = 0

    @property
    def idle(self) -> int:
        """How many tunnel connections wait for a user."""
        return len(self._waiting)

    @property
    def opening(self) -> int:
        """How many tunnel connections are being dialled."""
        return self._opening

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        return await self._door.connect()

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""
        self._opening += 1
        self._door.dial(self._opened)

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""
        self._door.send(signal)

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on.

        Idle connections are left to the server to close: in this very moment it may be handing them users.
        """
        self._door.disconnect()
        self._opening = 0
        leaving, self._waiting = self._waiting, set()
        self._leaving |= leaving
        self._loop.call_later(LEAVE_TIMEOUT, self._close, leaving)

    @property
    def leaving(self) -> int:
        """How many connections of a lost control channel the server has not closed yet."""
        return len(self._leaving)

    def close(self) -> None:
        """Close those that are still there."""
        self._close(set(self._leaving))

    def _close(self, carriers: set[WaitingCarrier]) -> None:
        for carrier in carriers & self._leaving:
            self._leaving.discard(carrier)
            carrier.close()

    def heard(self, signal: Signal) -> None:
        """Tell the control plane."""
        self._events.heard(signal)

    def control_lost(self, reason: str) -> None:
        """Tell the control plane, which will disconnect."""
        self._events.control_lost(reason)

    def addressed(self, carrier: WaitingCarrier, arrival: Arrival | None) -> None:
        """One waits no more; the pool notices."""
        self._waiting.discard(carrier)
        self._leaving.discard(carrier)
        if arrival:
            self._events.arrived(arrival)

    def _opened(self, result: socket.socket | Exception, ours: bool, rest: bytes) -> None:  # noqa: FBT001 - see Opened
        self._opening -= 1
        if isinstance(result, Exception):
            log.debug("can't open a tunnel connection: %s", result)
            return
        self._waiting.add(self._make_waiting(result, rest, ours, self))
