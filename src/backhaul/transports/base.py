"""The contracts between the control plane and the transports."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from backhaul.net.listeners import Listeners, Opener
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.sockets import SocketOptions
from backhaul.net.tls import ClientTls, ServerTls
from backhaul.relay.fit import Fit
from backhaul.relay.flows import Flow
from backhaul.relay.outcome import Done
from backhaul.relay.traffic import Traffic
from backhaul.wire import smux
from backhaul.wire.signals import Signal

from .connection import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class GateLimits:
    """The limits of connections that have proved nothing yet, and of visitors, on the public end."""

    pending: int = 1024
    """Connections at a time."""
    pending_per_address: int = 256
    unproven_sessions: int = 1024
    """Sessions of tcpmux, admitted by their address alone, through which no target has answered yet."""
    handshake_timeout: float = 2.0
    """Seconds for the handshake of tcp, tcpmux and udp, which v0.7.2 allows for it, too."""
    hello_grace: float = 0.2
    """Seconds after the answer to the RTT signal in which a hello may still come, which belongs into the same packet.
    Until then no connection is admitted by its address alone."""
    head_timeout: float = 60.0
    """Seconds until the first byte inside TLS on ws, wss, wsmux and wssmux, and again for a request; nginx's."""
    handshake_share: float = 0.25
    """The part of the time that may be spent on TLS handshakes with networks that have never proved themselves."""
    handshake_patience: float = 5.0
    """Seconds that a TLS handshake may wait for its next step."""
    visitors: int = 256
    """Connections at a time that the decoy serves."""
    visitors_per_address: int = 64
    keepalive_timeout: float = 65.0
    """Seconds that a visitor may stay without asking for anything; from the nginx.conf that comes with nginx."""
    send_timeout: float = 60.0  # seconds that a visitor may take to read something; nginx's
    lingering_timeout: float = 5.0  # seconds of silence in a body that nobody wants; nginx's
    lingering_time: float = 30.0  # seconds for all of such a body; nginx's
    upstream_timeout: float = 60.0  # seconds for a connection to the website of a decoy, and for its silence; nginx's
    failures: int = 30
    """Failed proofs within `failure_window` that bar an address; a client that retries every 3 s makes 20."""
    failure_window: float = 60.0  # seconds
    longest_backoff: float = 60.0  # seconds


DEFAULT_LIMITS: Final = GateLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """The settings of a transport on the public end."""

    bind_host: str  # "" means every address
    bind_port: int
    token: str = field(repr=False)
    tunnel_options: SocketOptions
    channel_size: int  # idle tunnel connections at most
    mux: smux.Settings = field(default_factory=smux.Settings)
    mux_con: int = 8  # streams per session before another is asked for
    tls: ServerTls | None = None
    path: str = ""  # before /channel and /tunnel
    decoy: str = "404"  # or a directory, or the URL of a website
    limits: GateLimits = DEFAULT_LIMITS
    listeners: Opener = field(default_factory=Listeners)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """The settings of a transport on the client."""

    remote_host: str
    remote_port: int
    token: str = field(repr=False)
    tunnel_options: SocketOptions
    dial_timeout: float  # seconds
    host_header: str = ""  # remote_addr as configured
    edge_ip: str = ""  # dialled instead of remote_host
    path: str = ""  # before /channel and /tunnel
    tls: ClientTls | None = None
    mux: smux.Settings = field(default_factory=smux.Settings)
    # Seconds for the signal with which servers of tcp and udp begin: it leaves with the handshake, but may be lost.
    greeting_grace: float = 20.0


# A server that has lost the control channel closes its idle connections at once. So long they stay open on the
# client's side after that, for users whom the server has handed out before it knew.
LEAVE_TIMEOUT = 3.0  # seconds
# Bytes of a user that are read before there is a carrier. With target and PROXY header they make one record of TLS,
# which leaves whole or not at all: what a dead connection has taken nothing of may go through another.
_EARLY_SIZE = 15 << 10


@dataclass(eq=False, slots=True)
class User:
    """A user's connection and its target; the holder of this object owns the socket."""

    sock: socket.socket
    target: str
    preface: bytes  # goes to the target before the user's bytes (PROXY protocol)
    traffic: Traffic
    done: Done  # called once when the user's connection has closed
    early: bytes = b""  # what the user has sent before a carrier was found
    reset: bool = False  # whether the connection was found to be reset before a carrier was found

    def take_early(self) -> None:
        """Read what the user has sent already, once, so that it can leave together with the announcement.

        The kernel tells of a reset once only, and of an orderly end after that: `reset` keeps it.
        """
        if self.early or self.reset:
            return
        try:
            self.early = self.sock.recv(_EARLY_SIZE)
        except WOULD_BLOCK:
            return
        except OSError:
            self.reset = True


class Carry(Enum):
    """The outcome of an attempt to give a flow a carrier."""

    CARRIED = auto()
    LATER = auto()  # no carrier is free
    REFUSED = auto()  # the client takes no flows; no carrier was touched


class ControlEvents(Protocol):
    """Events of the control channel on the public end."""

    @property
    def fit(self) -> Fit:
        """Takes what becomes known of the other end's tunnel connections."""

    def control_opened(self, peer: str) -> None:
        """Note a client that has proved the token; an older control channel is closed."""

    def control_lost(self, reason: str, *, goodbye: bool = False) -> None:
        """Note the loss of the control channel; users in flight stay. ``goodbye`` means an announced stop."""


def taken_over(ip: str) -> str:
    """Say why a control channel has gone: a client with the token came, back or another one, which takes turns then."""
    return f"a client at {ip} has taken over (one client at a time: a second one needs a server of its own)"


def unlike(peer: str, theirs: str, own: str) -> str:
    """Say that both ends run different transports; `peer` is "server" or "client", the other end."""
    this = "client" if peer == "server" else "server"
    return f"the {peer} runs {theirs}, this {this} {own}; set the same transport on both ends"


class GateEvents(ControlEvents, Protocol):
    """Events of a gate, for the carrier that it admits connections for."""

    def tunnel_opened(self, connection: Connection) -> None:
        """Take over a tunnel connection."""

    def client_recognised(self) -> None:
        """Note that the client has a ticket; connections admitted by address alone may be another client's."""


class ServerEvents(ControlEvents, Protocol):
    """Events of a transport on the public end, for the control plane."""

    @property
    def waiting(self) -> int:
        """The number of users, of streams or of flows, that have no carrier."""

    def carrier_ready(self) -> None:
        """Carry waiting users, because a carrier is free."""


class Gate(Protocol):
    """The way in on the public end: it admits control channels and tunnel connections.

    It may be started again after `stop_listening`.
    """

    @property
    def connected(self) -> bool:
        """True if a control channel is open."""

    @property
    def vouches(self) -> bool:
        """True if tunnel connections have shown the token, or a ticket; else their address is all that is known."""

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""

    def start(self) -> None:
        """Listen; raises OSError."""

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Hear a connection that was taken for a tunnel connection and has spoken; takes over the socket."""

    def stop_listening(self) -> None:
        """Take no more connections and close the control channel."""


class ServerTransport(Protocol):
    """The public end of a transport."""

    settings: ServerSettings
    """Read whenever they are needed; what concerns the control channel and its address counts from `start`."""

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""

    @property
    def connected(self) -> bool:
        """True if a control channel is open."""

    @property
    def client_is_v072(self) -> bool:
        """True if tunnel connections have shown that the client has no extensions; it may be too early to tell."""

    def start(self) -> None:
        """Listen; raises OSError."""

    def expect_user(self, waiting: int) -> None:
        """Ask the client for another connection, if needed, for a new user, one of ``waiting``."""

    def carry(self, user: User) -> bool:
        """Take over `user` (socket included) and join it with a carrier; False if none is idle."""

    def carry_flow(self, flow: Flow) -> Carry:
        """Give `flow` a carrier if one is free and the client takes flows."""

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""


class Arrival(Protocol):
    """A user's connection that has come through the tunnel to the client's side."""

    target: str

    @property
    def datagrams(self) -> bool:
        """True if this is a flow of datagrams, whose target is reached over UDP, and not a stream."""

    def join(self, sock: socket.socket, traffic: Traffic, done: Done) -> None:
        """Connect it with the target; takes over the socket. `done` is called once when the user has gone."""

    def refuse(self, *, reset: bool) -> None:
        """Close the connection, because the target is not available; with a reset if the target sent one."""


class ClientControlEvents(Protocol):
    """Events of the control channel on the client."""

    @property
    def fit(self) -> Fit:
        """Takes what becomes known of the other end's tunnel connections."""

    def heard(self, signal: Signal) -> None:
        """Act on a signal that the server sent on the control channel."""

    def control_lost(self, reason: str) -> None:
        """Note the loss of the control channel; users in flight stay."""


class DoorEvents(ClientControlEvents, Protocol):
    """Events of a door, for its owner."""

    def server_recognised(self) -> None:
        """Note that the server has extensions; it may refuse connections that were dialled before that was known."""


class ClientEvents(ClientControlEvents, Protocol):
    """Events of a transport on the client, for the control plane."""

    def arrived(self, arrival: Arrival) -> None:
        """Dial the target of a user, or refuse the user."""


Opened = Callable[[Connection | Exception], None]
"""Takes over a tunnel connection, or gets the error."""


class Door(Protocol):
    """The way out on the client: the control channel, and connections to the server."""

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""

    def dial(self, done: Opened) -> None:
        """Open a tunnel connection in the background and call `done` once, unless disconnected or closed before.

        One that the server has been asked for is still opened after `disconnect`: the server may have a user for it.
        """

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""

    def probe(self) -> None:
        """Ask the server for a sign of life if it can be asked; `heard` tells of it."""

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""

    def close(self) -> None:
        """Give up what `disconnect` has left to be opened."""


class ClientTransport(Protocol):
    """The client's end of a transport."""

    @property
    def idle(self) -> int:
        """The number of tunnel connections that wait for a user."""

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

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""

    def probe(self) -> None:
        """Ask the server for a sign of life if it can be asked; `heard` tells of it."""

    @property
    def leaving(self) -> int:
        """The number of idle connections of a lost control channel that the server has not closed yet."""

    def disconnect(self) -> None:
        """Close the control channel; users in flight go on, and idle connections are the server's to close."""

    def close(self) -> None:
        """Close what is left of the idle connections."""
