"""The reception of the public end: one gate for all clients, whose events it routes by the client's name."""

import socket
from typing import Protocol

from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.relay.resumption import Resumption
from backhaul.transports.connection import Connection
from backhaul.transports.public_end import Gate, GateEvents, SharedGateEvents
from backhaul.transports.session import ClientSession
from backhaul.wire.checks import Health

from .reputation import Reputation


class ReceptionResources(Protocol):
    """The parts of the data plane for a reception."""

    poller: Poller
    resumption: Resumption


class Remainder(Protocol):
    """A part of a reception that serves users in flight when another reception has taken its place."""

    @property
    def in_use(self) -> bool:
        """True until its last user has left."""


class SharedGate(Protocol):
    """The entrance of the public end: it admits control channels and tunnel connections of all clients.

    It may be started again after ``stop_listening``.
    """

    reputation: Reputation
    """The networks that have proved themselves or failed."""

    def start(self, events: SharedGateEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Take over a connection that counted as a tunnel connection, and read its bytes, ``data``, as a handshake."""

    def dismiss(self, client: str) -> None:
        """Close the control channel of the client with this name, without a report."""

    def stop_listening(self) -> None:
        """Stop listening, and close the control channels."""


class Reception:
    """Owns the gate, which listens once, however many clients there are."""

    def __init__(self, relay: ReceptionResources, gate: SharedGate) -> None:
        self._poller = relay.poller
        self._resumption = relay.resumption
        self.gate = gate
        """The gate, which no other reception starts or stops."""
        self._clients: dict[str, GateEvents] = {}
        self.remainders: tuple[Remainder, ...] = ()
        """Parts of this reception and of former ones, which may have users."""

    def gate_of(self, client: str) -> Gate:
        """Return the gate as the carrier of the client with this name sees it."""
        return ClientGate(self, client)

    def succeed(self, before: "Reception") -> None:
        """Take over the parts that outlive the former reception, of any transport, and what its gate has learnt."""
        self.gate.reputation.succeed(before.gate.reputation)
        self.remainders = tuple(part for part in before.remainders if part.in_use)

    def listen(self) -> None:
        """Listen; raises OSError."""
        self.gate.start(self)

    def close(self) -> None:
        """Stop listening, and close the control channels."""
        self.gate.stop_listening()

    def enter(self, client: str, events: GateEvents) -> None:
        """Report what concerns this client to ``events`` from now on."""
        self._clients[client] = events

    def leave(self, client: str) -> None:
        """Close the control channel of this client, and report nothing to it any more."""
        if self._clients.pop(client, None):
            self.gate.dismiss(client)

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Pass the connection to the gate."""
        self.gate.rehandshake(sock, data)

    def client_connected(self, session: ClientSession) -> None:
        """Tell the client's carrier; one whose client has been removed meanwhile is closed.

        Sessions of an earlier process of the same client are over, whatever their transport.
        """
        self._resumption.end_others(session.peer.name, session.peer.instance)
        events = self._clients.get(session.peer.name)
        if events:
            events.client_connected(session)
        else:
            self.gate.dismiss(session.peer.name)

    def client_lost(self, session: ClientSession, reason: str, *, goodbye: bool = False) -> None:
        """Tell the client's carrier."""
        if events := self._clients.get(session.peer.name):
            events.client_lost(reason, goodbye=goodbye)

    def target_refused(self, session: ClientSession, target: str, reason: str) -> None:
        """Tell the client's carrier."""
        if events := self._clients.get(session.peer.name):
            events.target_refused(target, reason)

    def health_reported(self, session: ClientSession, health: Health) -> None:
        """Tell the client's carrier."""
        if events := self._clients.get(session.peer.name):
            events.health_reported(health)

    def session_ended(self, session: ClientSession, identity: bytes) -> None:
        """End a session that the client has ended, with its users; it may be one of another transport."""
        if link := self._resumption.links.get((session.peer.name, identity)):
            link.on_bye()

    def mismatched(self, client: str, what: str) -> None:
        """Tell the client's carrier."""
        if events := self._clients.get(client):
            events.fit.mismatched(what)

    def tunnel_opened(self, connection: Connection) -> None:
        """Pass the connection to the client's carrier; that of a removed client is closed."""
        events = self._clients.get(connection.peer.name)
        if events:
            events.tunnel_opened(connection)
        else:
            release(self._poller, connection.sock)


class ClientGate:
    """The gate, as the carrier of one client sees it."""

    __slots__ = ("_client", "_reception")

    def __init__(self, reception: Reception, client: str) -> None:
        self._reception = reception
        self._client = client

    def start(self, events: GateEvents) -> None:
        """Report to ``events`` from now on."""
        self._reception.enter(self._client, events)

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Pass the connection to the gate."""
        self._reception.rehandshake(sock, data)

    def stop_listening(self) -> None:
        """Stop reporting, and close the client's control channel."""
        self._reception.leave(self._client)
