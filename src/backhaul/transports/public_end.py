"""The contracts between the server's control plane, its transports and their gates."""

import socket
from collections.abc import Hashable
from enum import Enum, auto
from typing import Protocol

from backhaul.relay.fit import Fit
from backhaul.relay.flows import Flow
from backhaul.wire.checks import Health

from .connection import Connection
from .session import ClientSession
from .settings import CarrierLimits
from .user import User


class Carry(Enum):
    """The outcome of an attempt to give a flow a carrier."""

    CARRIED = auto()
    LATER = auto()  # no carrier is free
    REFUSED = auto()  # the client takes no flows; no carrier was touched


class ControlEvents(Protocol):
    """Events of the control channel on the public end."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""

    def client_connected(self, session: ClientSession) -> None:
        """Note a client that has proved its token; an older session of the same client has ended before."""

    def client_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Note the loss of the control channel; users in flight stay. ``goodbye`` means an announced stop."""

    def target_refused(self, target: str, reason: str) -> None:
        """Note a target that the client does not dial; both texts can be logged."""

    def health_reported(self, health: Health) -> None:
        """Note the outcome of a health check."""


class GateEvents(ControlEvents, Protocol):
    """Events of a gate, for the carrier that gets its connections."""

    def tunnel_opened(self, connection: Connection) -> None:
        """Take over a tunnel connection."""


class ServerEvents(ControlEvents, Protocol):
    """Events of a transport on the public end, for the control plane."""

    @property
    def waiting(self) -> int:
        """The number of users, of streams or of flows, that have no carrier."""

    def carrier_ready(self) -> None:
        """Carry waiting users, because a carrier is free."""


class SharedGateEvents(Protocol):
    """Events of the gate of all clients, which name the client."""

    def client_connected(self, session: ClientSession) -> None:
        """Note a client that has proved its token; an older session of the same client has ended before."""

    def client_lost(self, session: ClientSession, reason: str, *, goodbye: bool = False) -> None:
        """Note the loss of a control channel; users in flight stay. ``goodbye`` means an announced stop."""

    def target_refused(self, session: ClientSession, target: str, reason: str) -> None:
        """Note a target that the client does not dial; both texts can be logged."""

    def health_reported(self, session: ClientSession, health: Health) -> None:
        """Note the outcome of a health check."""

    def mismatched(self, client: str, what: str) -> None:
        """Note a connection of another transport; ``what`` is a sentence with the remedy."""

    def session_ended(self, session: ClientSession, identity: bytes) -> None:
        """Note that a client has ended a session with several users, whose connection may be dead."""

    def tunnel_opened(self, connection: Connection) -> None:
        """Take over a tunnel connection."""


class Gate(Protocol):
    """The entrance of the public end, as the carrier of one client sees it.

    It may be started again after ``stop_listening``.
    """

    def start(self, events: GateEvents) -> None:
        """Report to ``events`` from now on."""

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Take over a connection that counted as a tunnel connection, and read its bytes, ``data``, as a handshake."""

    def stop_listening(self) -> None:
        """Stop reporting, and close the client's control channel."""


class ServerTransport(Hashable, Protocol):
    """The public end of a transport."""

    def apply(self, limits: CarrierLimits) -> None:
        """Use other limits from now on; open connections stay."""

    @property
    def session(self) -> ClientSession:
        """The session of the client, or ``NO_CLIENT``."""

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""

    def start(self, events: ServerEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""

    def expect_user(self, waiting: int) -> None:
        """Ask the client for another connection, if needed, for a new user, one of ``waiting``."""

    def assign(self, user: User) -> bool:
        """Take over ``user`` (socket included) and join it with a carrier; False if none is idle."""

    def assign_flow(self, flow: Flow) -> Carry:
        """Give ``flow`` a carrier if one is free and the client takes flows."""

    def beat(self) -> None:
        """Send the heartbeat, and keep middleboxes from forgetting idle connections."""

    def stop_listening(self) -> None:
        """Stop listening, and close idle connections; users in flight go on."""
