"""The contracts between the client's control plane, its transports and their doors."""

import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from backhaul.relay.fit import Fit
from backhaul.relay.outcome import Done
from backhaul.relay.traffic import Traffic
from backhaul.wire.checks import Check, Health
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

from .connection import Connection


class Answer(NamedTuple):
    """The answer to a question on a connection of its own."""

    seconds: float
    """From the question to the answer."""
    resent: int
    """Segments that were sent again, because they were lost or late."""


class Arrival(Protocol):
    """A user's connection that has arrived at the client through the tunnel."""

    target: str

    @property
    def datagrams(self) -> bool:
        """True if this is a flow of datagrams, whose target is reached over UDP, and not a stream."""

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Join it with the target, whose socket it takes over; ``done`` is called once, when the user has gone."""

    def refuse(self, *, reset: bool) -> None:
        """Close the connection, because the target is not available; with a reset unless it was only silent."""


class ClientControlEvents(Protocol):
    """Events of the control channel on the client."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether both ends run the same transport."""

    def signal_received(self, signal: Signal, count: int = 1) -> None:
        """Act on a signal that the server sent on the control channel; a request is for ``count`` connections."""

    def check_requested(self, check: Check) -> None:
        """Check the health of a target, as the server wants it."""

    def control_lost(self, reason: str) -> None:
        """Note the loss of the control channel; users in flight stay."""


class DoorEvents(ClientControlEvents, Protocol):
    """Events of a door, for the transport on top of it."""

    def refused(self, instance: bytes) -> None:
        """Note that the server refuses a control channel; ``instance`` is that of its process, if it says."""


class ClientEvents(ClientControlEvents, Protocol):
    """Events of a transport on the client, for the control plane."""

    def arrived(self, arrival: Arrival) -> None:
        """Dial the target of a user, or refuse the user."""

    def tunnel_opened(self) -> None:
        """Note that a tunnel connection was opened."""

    def tunnel_failed(self, error: Exception) -> None:
        """Note that a tunnel connection could not be opened."""

    def doubt(self) -> None:
        """Ask for a sign of life, because the line may be dead, and give the server up soon without one."""

    def disowned(self) -> None:
        """Do the same at once: the server refused a connection, as it does if it knows the control channel no more."""


class ClientControl(Protocol):
    """The control channel on the client, as its door and the transport on top of that offer it."""

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel, if there is one."""

    def refuse(self, target: str, reason: str) -> None:
        """Tell a server with extensions why a target is not dialled."""

    def report(self, health: Health) -> None:
        """Tell the server the outcome of a health check."""

    @property
    def protected(self) -> bool:
        """True while the control channel is protected."""

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""

    def probe(self) -> None:
        """Ask the server for a sign of life, if it can be asked; ``signal_received`` reports the answer."""

    @property
    def measurable(self) -> bool:
        """True if the server may be asked on a connection of its own: one of v0.7.2 would use it for a user."""

    async def measure(self) -> Answer:
        """Ask the server on a connection of its own, which costs a client nothing. Raises OSError or TransportError."""


Opened = Callable[[Connection | Exception], None]
"""Takes over a tunnel connection, or gets the error."""


class Door(ClientControl, Protocol):
    """The exit of the client: it opens the control channel and dials the server."""

    @property
    def server(self) -> Peer:
        """The server, or one of v0.7.2 without a control channel."""

    @property
    def server_address(self) -> str:
        """Host and port of the server, as the configuration has them."""

    @property
    def private(self) -> bool:
        """True if an eavesdropper can't read the bytes of users."""

    def start(self, events: DoorEvents) -> None:
        """Report to ``events`` from now on; nothing else may be called before."""

    def tell_ended(self, identity: bytes) -> None:
        """Tell a server with extensions that this end has ended a session."""

    def dial(self, done: Opened, *, resumes: bool = False) -> None:
        """Open a tunnel connection in the background and call ``done`` once, unless disconnected or closed before.

        With ``resumes`` it takes the place of another one, which needs a protected control channel. A connection that
        the server has requested is opened even after ``disconnect``: the server may have a user for it.
        """

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""

    def close(self) -> None:
        """Abandon the connections that ``disconnect`` has left to be opened."""


class ClientTransport(ClientControl, Protocol):
    """The client's end of a transport."""

    def start(self, events: ClientEvents) -> None:
        """Report to ``events`` from now on, before the first ``connect``."""

    @property
    def server(self) -> Peer:
        """The server of the last control channel."""

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""

    @property
    def in_use(self) -> bool:
        """True while users are on connections that only the control channel shows to be dead."""

    @property
    def urgent(self) -> bool:
        """True while users in flight may need a control channel, to go on."""

    @property
    def spare(self) -> int:
        """The number of waiting tunnel connections that the server does not need when it asks for another."""

    @property
    def shared(self) -> int:
        """The number of tunnel connections that have users and take more."""

    @property
    def connections(self) -> int:
        """The number of tunnel connections that wait, are shared or are being dialled."""

    @property
    def opening(self) -> int:
        """The number of tunnel connections that are being dialled."""

    @property
    def open_now(self) -> int:
        """The number of tunnel connections that are open, and wait or are shared."""

    @property
    def obstacle(self) -> str:
        """The reason why no user can be carried although connections can be opened; empty if there is none."""

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""

    def announce(self) -> None:
        """Tell the server where tunnels without a connection are, because their addresses may have changed."""

    @property
    def leaving(self) -> int:
        """The number of idle connections of a lost control channel that the server has not closed yet."""

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on, and the server closes the idle connections."""

    def close(self) -> None:
        """Close the remaining idle connections."""
