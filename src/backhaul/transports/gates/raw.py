"""The gate of tcp, tcpmux and udp on the public end: it admits control channels and tunnel connections.

A client with extensions begins each connection with a sealed message: that of a handshake, or an admission. A v0.7.2
client sends nothing on a tunnel connection, so only the address of its control channel vouches for it.
"""

import asyncio
import functools
import logging
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from backhaul.addresses import plain_ip
from backhaul.failures import network_of
from backhaul.net.closing import release
from backhaul.net.listener import PROOF_BATCH, Acceptor
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.relay.reclaimer import Tide
from backhaul.transports.auth import Credential
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.transports.control.raw_session import RawSession
from backhaul.transports.public_end import SharedGateEvents
from backhaul.transports.reasons import indistinct, occupied, unlike
from backhaul.transports.settings import ServerSettings
from backhaul.wire import base64url
from backhaul.wire.foreign import foreign
from backhaul.wire.frames import (
    HEAD_SIZE,
    Frame,
    FrameReader,
    FrameTooLongError,
    Sealed,
    sealed_kind,
    sealed_message,
)
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal
from backhaul.wire.smux import is_nop
from backhaul.wire.transports import TRANSPORTS

from .complaints import Complaints
from .last_answers import LastAnswers
from .lobby import Lobby, PendingConnection, first_bytes
from .reputation import Reputation
from .sessions import NO_CLIENT, GateSession, Sessions, warn_of_legacy
from .silence import SilentConnections

if TYPE_CHECKING:
    from backhaul.security.records import Seals
    from backhaul.transports.control.sealed_session import SealedSession

    from .guard import Greeting, Guard, Knock

log = logging.getLogger("backhaul.server")

MAX_GREETING: Final = base64url.size(2048)
"""Bytes of a token, unless the configured one is longer, and characters of a sealed message."""

_ANOTHER_VERSION: Final = "no Backhaul client, or one of another version: update the older end"
"""The reason for a handshake that is no text; those of development versions before 0.1.0 are not."""


class RawGate:
    """Listens on the tunnel's address and sorts the connections, which it owns until then."""

    _events: SharedGateEvents

    def __init__(self, poller: Poller, tide: Tide, settings: ServerSettings, transport: str) -> None:
        """``transport`` is tcp, tcpmux or udp; tcpmux measures no round trip, as in v0.7.2.

        ``tide`` follows the number of strangers.
        """
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._settings = settings
        self._credentials = settings.credentials
        self._protection = settings.protection
        self._transport = TRANSPORTS[transport]
        self.reputation = Reputation(settings.limits)
        """The networks that have proved themselves or failed."""
        self._complaints = Complaints(self.reputation)
        self._lobby = Lobby(
            poller,
            self.reputation,
            self._received,
            limit=settings.limits.pending,
            share=settings.limits.pending_per_address,
            seconds=settings.limits.handshake_timeout,
            tide=tide,
        )
        self._sessions = Sessions(settings.limits, self.reputation, self._credentials)
        self._last_answers = LastAnswers(poller, settings.limits)
        self._silence = SilentConnections(poller, spoke=self.greet, silent=self._admit_silent)
        self._throttle = LogThrottle(log)
        self._acceptor: Acceptor | None = None

    def start(self, events: SharedGateEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""
        self._events = events
        self._sessions.start(events)
        settings = self._settings
        listener = settings.listeners.streams(settings.bind_host, settings.bind_port, settings.tunnel_options)
        end = self._poller.descriptors.clients_end
        self._acceptor = Acceptor(self._poller, listener, self._accepted, self._refused, batch=PROOF_BATCH, end=end)

    @functools.cached_property
    def _guard(self) -> "Guard":
        from .guard import make_guard  # noqa: PLC0415 - loads cryptography, for the first client that needs it

        return make_guard(self._settings, self._transport, lambda: frozenset({b""}))

    def greet(self, sock: socket.socket, ip: str, data: bytes = b"") -> None:
        """Take over a connection, which must begin with a handshake or an admission."""
        data = data or first_bytes(sock)
        if not self._let_in(sock, ip, data):
            self._await_proof(_PendingClient(sock, ip, max(MAX_GREETING, self._credentials.longest)), data)

    def _let_in(self, sock: socket.socket, ip: str, data: bytes) -> bool:
        """Admit a connection whose admission has arrived as a whole; return whether it has."""
        if len(data) <= HEAD_SIZE or sealed_kind(data[2]) is not Sealed.ADMISSION or not self._protection.seals:
            return False
        end = HEAD_SIZE + int.from_bytes(data[:2])
        found = self._guard.register.check(sealed_message(data[HEAD_SIZE:end])) if len(data) >= end else None
        if found:
            self._open_tunnel(found, sock, ip, data[end:])
        return bool(found)

    def _open_tunnel(self, found: "tuple[SealedSession, Seals]", sock: socket.socket, ip: str, rest: bytes) -> None:
        """Open the tunnel connection of a client with extensions."""
        session, seals = found
        session.confirm()
        if ip != session.peer.address:  # that network has proved itself with the token
            self.reputation.proved(network_of(ip))
        self._events.tunnel_opened(SealedConnection(sock, session.peer, rest, seals=seals))

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

    def dismiss(self, client: str) -> None:
        """Close the control channel of the client with this name, without a report."""
        self._sessions.dismiss(client)

    def stop_listening(self) -> None:
        """Stop listening, and close the control channels."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        self._lobby.close()
        self._silence.close()
        self._last_answers.close()
        self._sessions.close()

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        ip = plain_ip(address)
        session = self._session_at(ip)
        if not session or self._transport.datagrams:  # no tunnel of which is a connection
            self.greet(sock, ip)
        elif patience := self._patience(session):
            self._silence.add(sock, ip, patience)
        else:
            self._admit(session, sock)

    def _patience(self, session: RawSession) -> float:
        """Return the seconds in which a connection from this client's address may show that it is another's."""
        if self._sessions.crowded_address(session.peer.address):
            return self._settings.limits.neighbour
        several = self._credentials.several or session.unanswered
        return self._settings.limits.second_thought if several else 0.0

    def _session_at(self, ip: str) -> RawSession | None:
        """Return the session of a v0.7.2 client at this address."""
        session = self._sessions.at(ip)
        return session if isinstance(session, RawSession) else None

    def _admit_silent(self, sock: socket.socket, ip: str) -> None:
        if session := self._session_at(ip):
            self._admit(session, sock)
        else:
            self.greet(sock, ip)

    def _admit(self, session: RawSession, sock: socket.socket) -> None:
        """Admit a connection by its address."""
        self._events.tunnel_opened(Connection(sock, session.peer))

    def _refused(self, error: OSError) -> None:
        self._throttle.warn(error.errno, f"can't accept a tunnel connection: {error.strerror}")

    def _received(self, pending: "_PendingClient", data: bytes) -> None:
        if is_nop(data) and (session := self._session_at(pending.ip)):
            self._events.mismatched(session.peer.name, unlike("client", "tcpmux", self._transport.name))
            self._lobby.dismiss(pending)
            return
        try:
            frame = pending.reader.feed(data)
        except FrameTooLongError:
            self._refuse(pending, foreign(data, self._transport) or "no Backhaul client")
            return
        if frame:
            self._judge(pending, frame)

    def _judge(self, pending: "_PendingClient", frame: Frame) -> None:
        kind = sealed_kind(frame.kind) if self._protection.seals else Sealed.NOTHING
        if kind is Sealed.HANDSHAKE:
            self._judge_handshake(pending, frame)
        elif kind is Sealed.ADMISSION:
            self._judge_admission(pending, frame)
        elif frame.kind == Signal.CHANNEL and self._protection.allows_v072:
            self._judge_token(pending, frame)
        else:
            self._refuse(pending, "no valid handshake")

    def _judge_token(self, pending: "_PendingClient", frame: Frame) -> None:
        credential = self._credentials.find(frame.body)
        if not credential:
            self._refuse(pending, "wrong token")
            return
        if self._sessions.returns_too_often(credential.name):
            self._lobby.dismiss(pending)
            return
        then = functools.partial(self._admit_legacy, credential, pending, frame.rest)
        self._make_way(self._sessions.occupant(credential.name), then)

    def _judge_handshake(self, pending: "_PendingClient", frame: Frame) -> None:
        message = sealed_message(frame.body)
        knock = self._guard.read(message, functools.partial(self._sessions.crowded, pending.network))
        if not knock:
            self._refuse(pending, "wrong token, or no Backhaul client" if message else _ANOTHER_VERSION)
            return
        then = functools.partial(self._admit_sealed, knock, pending, frame.rest)
        occupant = self._sessions.occupant(knock.credential.name, knock.hello.instance)
        self._make_way(None if knock.hello.probe else occupant, then)

    def _make_way(self, occupant: GateSession | None, then: Callable[[str], None]) -> None:
        """Call ``then`` with the reason why a client is refused, once it is known whether another one is alive."""
        if not occupant:
            then("")
            return
        refusal = occupied(occupant.peer.address)
        occupant.ask(self._settings.limits.sign_of_life, lambda alive: then(refusal if alive else ""))

    def _admit_legacy(self, credential: Credential, pending: "_PendingClient", rest: bytes, refusal: str) -> None:
        if pending not in self._lobby:
            return
        if not self._credentials.accepts(credential):  # it has been removed meanwhile
            self._refuse(pending, "wrong token")
            return
        other = self._session_at(pending.ip)
        if other and other.peer.name != credential.name and not self._transport.datagrams:
            refusal = indistinct(f"client {other.peer}")
        if refusal:
            self._sessions.turned_away(Peer(pending.ip, credential.name), refusal, probe=False)
            self._lobby.dismiss(pending)
            return
        self._lobby.take(pending)
        self._open_session(credential, pending, rest)

    def _admit_sealed(self, knock: "Knock", pending: "_PendingClient", rest: bytes, refusal: str) -> None:
        if pending not in self._lobby:
            return
        greeting = self._guard.answer(knock, refusal)
        if not greeting:
            self._refuse(pending, "no valid handshake")
            return
        self._lobby.take(pending)
        self._answer(greeting, pending, rest)

    def _judge_admission(self, pending: "_PendingClient", frame: Frame) -> None:
        """Judge an admission that has not arrived at once, or is none."""
        if found := self._guard.register.check(sealed_message(frame.body)):
            self._trust(pending)
            self._open_tunnel(found, pending.sock, pending.ip, frame.rest)
        elif self._sessions.met_a_client:
            self._refuse(pending, NO_CLIENT)
        else:  # an admission of the previous process, whose client is about to connect
            self._lobby.dismiss(pending)

    def _trust(self, pending: "_PendingClient") -> None:
        self._lobby.take(pending)
        self.reputation.proved(pending.network)

    def _refuse(self, pending: "_PendingClient", what: str) -> None:
        self._lobby.dismiss(pending)
        self._complaints.refused(pending, what)

    def _answer(self, greeting: "Greeting", pending: "_PendingClient", rest: bytes) -> None:
        """Send the answer; begin the session if one follows."""
        answer = Sealed.HANDSHAKE.frame(greeting.message, secrets.randbits(6))
        if greeting.final:
            self._sessions.turned_away(greeting.peer(pending.ip), greeting.refusal, probe=greeting.probe)
            self._last_answers.add(pending.sock, answer, greeting.delay)
            return
        connection = Connection(pending.sock, greeting.peer(pending.ip), rest)
        within = self._settings.limits.answer_timeout
        session = self._guard.begin(greeting, self._poller, connection, self._sessions, answer_within=within)
        session.greet(answer)
        self._sessions.await_confirmation(session, greeting.warning)

    def _open_session(self, credential: Credential, pending: "_PendingClient", rest: bytes) -> None:
        connection = Connection(pending.sock, Peer(pending.ip, credential.name), rest)
        if self._protection.seals:
            warn_of_legacy(connection.peer)
        session = RawSession(self._poller, connection, self._transport, self._sessions)
        session.greet(credential.token)
        self._sessions.add(session)
        session.start()


class _PendingClient(PendingConnection):
    """A connection that must begin with a handshake or an admission."""

    __slots__ = ("reader",)

    def __init__(self, sock: socket.socket, ip: str, limit: int) -> None:
        super().__init__(sock, ip)
        self.reader = FrameReader(limit)
