"""What the control plane and the transports know of each other."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from backhaul.relay.pair import Traffic
from backhaul.wire.signals import Signal

from .sockets import SocketOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """What a transport needs to know on the public end."""

    bind_host: str  # "" means every address
    bind_port: int
    token: str = field(repr=False)
    tunnel_options: SocketOptions
    channel_size: int  # idle tunnel connections at most


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientSettings:
    """What a transport needs to know behind the firewall."""

    remote_host: str
    remote_port: int
    token: str = field(repr=False)
    tunnel_options: SocketOptions
    dial_timeout: float  # seconds


@dataclass(eq=False, slots=True)
class User:
    """A user's connection and where it wants to go; whoever holds this object owns the socket."""

    sock: socket.socket
    target: str
    preface: bytes  # goes to the target before the user's bytes (PROXY protocol)
    traffic: Traffic
    done: Callable[[], None]  # called once when the user's connection has closed


class GateEvents(Protocol):
    """What the control channel on the public end tells its owner."""

    def control_opened(self, peer: str) -> None:
        """A client has proved the token; if there was an older control channel it is gone."""

    def control_lost(self, reason: str) -> None:
        """The control channel is gone; users in flight are not."""


class ServerEvents(GateEvents, Protocol):
    """What a transport on the public end tells the control plane."""

    def carrier_ready(self) -> None:
        """A user who waits could be carried now."""


class ServerTransport(Protocol):
    """The public end of a transport."""

    @property
    def connected(self) -> bool:
        """Whether a control channel is open."""

    def start(self) -> None:
        """Listen; raises OSError."""

    def expect_user(self) -> None:
        """A user has come: ask the client for another connection if this transport needs one."""

    def carry(self, user: User) -> bool:
        """Take over `user` (socket included) and join it with a carrier; False if none is idle."""

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    def stop_listening(self) -> None:
        """Take no more connections, close the idle ones; users in flight go on."""


class Arrival(Protocol):
    """A user's connection that has come through the tunnel to the client's side."""

    target: str

    def join(self, sock: socket.socket, traffic: Traffic) -> None:
        """Connect it with the target; takes over the socket."""

    def refuse(self, *, reset: bool) -> None:
        """The target can't be had: close, with a reset if the target gave one."""


class DoorEvents(Protocol):
    """What the control channel on the client's side tells its owner."""

    def heard(self, signal: Signal) -> None:
        """The server said `signal` on the control channel."""

    def control_lost(self, reason: str) -> None:
        """The control channel is gone; users in flight are not."""


class ClientEvents(DoorEvents, Protocol):
    """What a transport on the client's side tells the control plane."""

    def arrived(self, arrival: Arrival) -> None:
        """A user wants to reach a target."""


class ClientTransport(Protocol):
    """The client's end of a transport."""

    @property
    def idle(self) -> int:
        """How many tunnel connections wait for a user."""

    @property
    def opening(self) -> int:
        """How many tunnel connections are being dialled."""

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""

    def open(self) -> None:
        """Dial one more tunnel connection, in the background."""

    def send(self, signal: Signal) -> None:
        """Say `signal` on the control channel, if there is one."""

    def disconnect(self) -> None:
        """Close the control channel and the idle tunnel connections; users in flight go on."""
