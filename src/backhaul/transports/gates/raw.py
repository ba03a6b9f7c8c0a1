"""The gate of tcp, tcpmux and udp on the public end: it admits control channels and tunnel connections.

A v0.7.2 client sends nothing on a tunnel connection, so only the address of its control channel vouches for it. A
client with extensions shows a ticket that it got on the control channel, from any address. Until it is known which of
the two the client is, silent connections from its address wait: they may be a neighbour's.
"""

import asyncio
import functools
import hmac
import logging
import socket
from typing import Any

from backhaul.addresses import plain_ip
from backhaul.failures import network_of
from backhaul.net.listener import Acceptor
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller, release
from backhaul.net.predicates import has_input
from backhaul.transports.auth import Credential
from backhaul.transports.base import GateEvents, taken_over, unlike
from backhaul.transports.connection import Connection
from backhaul.transports.control.raw_session import RawSession
from backhaul.transports.settings import ServerSettings
from backhaul.wire.frames import Frame, FrameReader, FrameTooLongError
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal
from backhaul.wire.smux import is_nop
from backhaul.wire.transports import TRANSPORTS

from .lobby import Lobby, PendingConnection, first_bytes
from .reputation import Reputation, barred_line

log = logging.getLogger("backhaul.server")

MAX_GREETING = 1024  # bytes of a token, unless the configured one is longer


class RawGate:
    """Listens on the tunnel's address and sorts the connections, which it owns until then."""

    _events: GateEvents

    def __init__(self, poller: Poller, settings: ServerSettings, transport: str) -> None:
        """``transport`` is tcp, tcpmux or udp; tcpmux measures no round trip, as in v0.7.2."""
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._settings = settings
        self._credentials = settings.credentials
        self._transport = TRANSPORTS[transport]
        self._reputation = Reputation(settings.limits)
        self._lobby = Lobby(
            poller,
            self._reputation,
            self._received,
            limit=settings.limits.pending,
            share=settings.limits.pending_per_address,
            seconds=settings.limits.handshake_timeout,
            left=self._left,
        )
        self._sessions: dict[str, RawSession] = {}  # by the client's name
        self._met_a_client = False
        self._held: dict[_PendingClient, RawSession] = {}  # silent connections from an undecided client's address
        self._throttle = LogThrottle(log)
        self._acceptor: Acceptor | None = None

    def start(self, events: GateEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""
        self._events = events
        settings = self._settings
        listener = settings.listeners.streams(settings.bind_host, settings.bind_port, settings.tunnel_options)
        self._acceptor = Acceptor(self._poller, listener, self._accepted, self._refused)

    def greet(self, sock: socket.socket, ip: str, data: bytes = b"") -> None:
        """Take over a connection, which must begin with a handshake or a ticket."""
        data = data or first_bytes(sock)
        for session in self._sessions.values():
            proof = session.proof
            if proof and hmac.compare_digest(data[: len(proof)], proof):
                self._let_in(session, sock, ip, data[len(proof) :])
                return
        self._await_proof(self._make_pending(sock, ip), data)

    def _let_in(self, session: RawSession, sock: socket.socket, ip: str, rest: bytes) -> None:
        if ip != session.peer.address:  # that network has proved itself with the token
            self._reputation.proved(network_of(ip))
        self._events.tunnel_opened(Connection(sock, session.peer, rest))

    def _make_pending(self, sock: socket.socket, ip: str) -> "_PendingClient":
        return _PendingClient(sock, ip, max(MAX_GREETING, *self._credentials.sizes))

    def _await_proof(self, pending: "_PendingClient", data: bytes) -> None:
        self._lobby.admit(pending)
        if data:
            self._received(pending, data)
        if pending in self._lobby:
            self._lobby.listen(pending)

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Take over a tunnel connection that has sent something, and read it as a handshake."""
        try:
            ip = plain_ip(sock.getpeername())
        except OSError:
            release(self._poller, sock)
        else:
            self.greet(sock, ip, data)

    def stop_listening(self) -> None:
        """Stop listening, and close the control channels."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        self._held.clear()
        self._lobby.close()
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        ip = plain_ip(address)
        session = self._session_at(ip)
        if not session:
            self.greet(sock, ip)
        elif session.unanswered:
            again = functools.partial(self._decide, sock, ip)
            self._loop.call_later(self._settings.limits.second_thought, self._poller.run, sock, again)
        else:
            self._admit(session, sock, ip)

    def _session_at(self, ip: str) -> RawSession | None:
        """Return the session of a client at this address whose tunnel connections show no ticket."""
        for session in self._sessions.values():
            if not session.proof and session.peer.address == ip:
                return session
        return None

    def _decide(self, sock: socket.socket, ip: str) -> None:
        """Admit a silent connection; one with bytes may be the client, which returns after its old channel died."""
        session = self._session_at(ip)
        if not self._acceptor:
            release(self._poller, sock)
        elif not session or has_input(sock):
            self.greet(sock, ip)
        else:
            self._admit(session, sock, ip)

    def _admit(self, session: RawSession, sock: socket.socket, ip: str) -> None:
        """Admit a connection by its address, or hold it while the client may still turn out to show tickets."""
        if not session.undecided:
            self._events.tunnel_opened(Connection(sock, session.peer))
            return
        pending = self._make_pending(sock, ip)
        self._held[pending] = session
        self._await_proof(pending, first_bytes(sock))

    def _left(self, pending: "_PendingClient") -> None:
        self._held.pop(pending, None)

    def session_is_v072(self, session: RawSession) -> None:
        """Admit the held connections in their order."""
        for pending in self._no_longer_held(session):
            self._lobby.take(pending)
            self._events.tunnel_opened(Connection(pending.sock, session.peer))

    def session_recognised(self, session: RawSession) -> None:
        """Let held connections prove themselves like all others."""
        self._no_longer_held(session)
        self._events.client_recognised()

    def _no_longer_held(self, session: RawSession) -> "list[_PendingClient]":
        held = [pending for pending, waits_for in self._held.items() if waits_for is session]
        for pending in held:
            del self._held[pending]
        return held

    def _refused(self, error: OSError) -> None:
        self._throttle.warn(error.errno, f"can't accept a tunnel connection: {error.strerror}")

    def _received(self, pending: "_PendingClient", data: bytes) -> None:
        self._held.pop(pending, None)
        if is_nop(data) and any(session.peer.address == pending.ip for session in self._sessions.values()):
            self.session_mismatched("tcpmux")
            self._lobby.dismiss(pending)
            return
        try:
            frame = pending.reader.feed(data)
        except FrameTooLongError:
            self._refuse(pending, "no Backhaul client")
            return
        if frame:
            self._judge(pending, frame)

    def _judge(self, pending: "_PendingClient", frame: Frame) -> None:
        if frame.kind == Signal.TICKET:
            self._judge_ticket(pending, frame)
            return
        credential = self._credentials.find(frame.body) if frame.kind == Signal.CHANNEL else None
        if not credential:
            self._refuse(pending, "wrong token" if frame.kind == Signal.CHANNEL else "no valid handshake")
        else:
            self._trust(pending)
            self._open_session(credential, pending, frame.rest)

    def _judge_ticket(self, pending: "_PendingClient", frame: Frame) -> None:
        for session in self._sessions.values():
            if session.proof and hmac.compare_digest(frame.body, session.ticket):
                self._trust(pending)
                self._events.tunnel_opened(Connection(pending.sock, session.peer, frame.rest))
                return
        if self._met_a_client:
            self._refuse(pending, "no valid handshake")
        else:  # a ticket of the previous process, whose client is about to connect
            self._lobby.dismiss(pending)

    def _trust(self, pending: "_PendingClient") -> None:
        self._lobby.take(pending)
        self._reputation.proved(pending.network)

    def _refuse(self, pending: "_PendingClient", what: str) -> None:
        self._lobby.dismiss(pending)
        if self._reputation.barred(pending.network):
            return
        self._throttle.warn((pending.ip, what), f"refused a connection from {pending.ip}: {what}")
        if seconds := self._reputation.failed(pending.network):
            self._throttle.warn(pending.network, barred_line(pending.network, seconds))

    def _open_session(self, credential: Credential, pending: "_PendingClient", rest: bytes) -> None:
        if before := self._sessions.get(credential.name):
            before.close()
            self.session_lost(before, taken_over(pending.ip))
        self._met_a_client = True
        connection = Connection(pending.sock, Peer(pending.ip, credential.name), rest)
        grace = self._settings.limits.hello_grace
        session = RawSession(self._poller, connection, self._transport, self, grace=grace)
        self._sessions[credential.name] = session
        session.greet(credential.token)
        self._events.client_connected(session)
        session.start()

    def session_mismatched(self, theirs: str) -> None:
        """Report the mismatch."""
        self._events.fit.mismatched(unlike("client", theirs, self._transport.name))

    def session_lost(self, session: RawSession, reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, and report the loss."""
        del self._sessions[session.peer.name]
        self._no_longer_held(session)
        self._events.client_lost(reason, goodbye=goodbye)


class _PendingClient(PendingConnection):
    """A connection that must begin with a handshake or a ticket."""

    __slots__ = ("reader",)

    def __init__(self, sock: socket.socket, ip: str, limit: int) -> None:
        super().__init__(sock, ip)
        self.reader = FrameReader(limit)
