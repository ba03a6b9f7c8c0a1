"""The gate of ws, wss, wsmux and wssmux on the public end: HTTP upgrades, with or without TLS.

Connections without the token get the decoy.
"""

import asyncio
import functools
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from backhaul.addresses import plain_ip
from backhaul.net.closing import release
from backhaul.net.listener import HANDSHAKE_BATCH, PROOF_BATCH, Acceptor
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import WOULD_BLOCK, Poller
from backhaul.net.sending import send_whole
from backhaul.net.tls import ServerContext, explain
from backhaul.relay.pings import Pings
from backhaul.relay.reclaimer import Tide
from backhaul.transports.auth import Credential
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.transports.control.http_session import HttpSession
from backhaul.transports.public_end import SharedGateEvents
from backhaul.transports.reasons import occupied
from backhaul.transports.settings import ServerSettings
from backhaul.wire import upgrade
from backhaul.wire.foreign import HTTP_2, foreign, unreadable
from backhaul.wire.http1 import HeadError, Request, RequestReader
from backhaul.wire.peer import Peer
from backhaul.wire.transports import TRANSPORTS

from .complaints import Complaints
from .decoy import Decoy
from .handshakes import Handshakes, OnlyHttp2Error
from .last_answers import LastAnswers
from .lobby import Lobby, PendingConnection, first_bytes
from .reputation import Reputation
from .sessions import NO_CLIENT, GateSession, Sessions, warn_of_legacy
from .settling import Settling

if TYPE_CHECKING:
    from backhaul.security.records import Seals
    from backhaul.transports.control.sealed_session import SealedSession

    from .guard import Greeting, Guard, Knock

log = logging.getLogger("backhaul.server")

_NO_PROOF: Final = "the request has no token; a proxy in between may have removed its Cookie or Authorization"


class HttpGate:
    """Listens on the tunnel's address and sorts the connections, which it owns until then.

    On wsmux and wssmux tunnel connections become raw smux right after the answer.
    """

    _events: SharedGateEvents

    def __init__(self, poller: Poller, pings: Pings, tide: Tide, settings: ServerSettings, transport: str) -> None:
        """Raise TransportError when the certificate can't be used; ``tide`` follows the number of strangers."""
        self._poller = poller
        self._pings = pings
        self._settings = settings
        self._credentials = settings.credentials
        self._transport = TRANSPORTS[transport]
        self._decoy = Decoy(poller, settings.decoy, lambda: self._credentials.tokens, settings.limits, self._claim)
        self.reputation = Reputation(settings.limits)
        """The networks that have proved themselves or failed."""
        self._complaints = Complaints(self.reputation)
        self._context = ServerContext(settings.tls) if settings.tls else None
        self._handshakes = self._make_handshakes(self._context) if self._context else None
        self._lobby = Lobby(
            poller,
            self.reputation,
            self._received,
            limit=settings.limits.pending,
            share=settings.limits.pending_per_address,
            seconds=settings.limits.head_timeout,
            tide=tide,
            left=self._left,
        )
        self._settling = Settling(poller, self._tunnel_opened)
        self._last_answers = LastAnswers(poller, settings.limits)
        self._throttle = LogThrottle(log)
        self._acceptor: Acceptor | None = None
        self._watch: asyncio.Task[None] | None = None
        self._sessions = Sessions(settings.limits, self.reputation, self._credentials, pings.discard)

    def start(self, events: SharedGateEvents) -> None:
        """Listen, and report to ``events``; raises OSError."""
        self._events = events
        self._sessions.start(events)
        settings = self._settings
        listener = settings.listeners.streams(settings.bind_host, settings.bind_port, settings.tunnel_options)
        batch = HANDSHAKE_BATCH if self._handshakes else PROOF_BATCH
        end = self._poller.descriptors.clients_end
        self._acceptor = Acceptor(self._poller, listener, self._accepted, self._refused, batch=batch, end=end)
        self._decoy.open()
        if self._context:
            self._watch = asyncio.ensure_future(self._context.watch())

    def rehandshake(self, sock: socket.socket, data: bytes) -> None:
        """Close the connection: after an upgrade there is no second handshake."""
        del data
        release(self._poller, sock)

    def dismiss(self, client: str) -> None:
        """Close the control channel of the client with this name, without a report."""
        self._sessions.dismiss(client)

    def stop_listening(self) -> None:
        """Stop listening, and close the control channels."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        if self._watch:
            self._watch.cancel()
            self._watch = None
        self._lobby.close()
        self._last_answers.close()
        if self._handshakes:
            self._handshakes.close()
        self._decoy.close()
        self._sessions.close()

    def _refused(self, error: OSError) -> None:
        self._throttle.warn(error.errno, f"can't accept a tunnel connection: {error.strerror}")

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        pending = PendingConnection(sock, plain_ip(address))
        if self._handshakes:
            self._lobby.admit(pending)
            self._handshakes.begin(pending)
        elif data := first_bytes(sock):
            self._meet(pending, data)
        else:
            self._lobby.admit(pending)
            self._lobby.listen(pending)

    def _make_handshakes(self, context: ServerContext) -> Handshakes[PendingConnection]:
        limits = self._settings.limits
        return Handshakes(
            self._poller,
            context,
            self._shaken,
            self._not_tls,
            self._not_shaken,
            share=limits.handshake_share,
            patience=limits.handshake_patience,
        )

    def _shaken(self, pending: PendingConnection) -> None:
        self._lobby.listen(pending)

    def _not_shaken(self, pending: PendingConnection, error: OSError) -> None:
        if isinstance(error, OnlyHttp2Error):
            self._complaints.refused(pending, HTTP_2)
        log.debug("connection from %s: dropped: %s", pending.ip, explain(error))
        self._lobby.dismiss(pending)

    def _left(self, pending: PendingConnection) -> None:
        if self._handshakes:
            self._handshakes.discard(pending)

    def _received(self, pending: PendingConnection, data: bytes) -> None:
        """Admit a connection that begins with a proof; the decoy reads all others, and asks ``_claim``."""
        self._lobby.take(pending)
        self._meet(pending, data)

    def _meet(self, pending: PendingConnection, data: bytes) -> None:
        request = self._tunnel_request(data)
        if not (request and self._admit(pending, request)):
            self._complaints.judged(pending, unreadable(data) if self._handshakes else foreign(data, self._transport))
            self._show_decoy(pending, data)

    def _claim(self, sock: socket.socket, ip: str, data: bytes) -> bool:
        """Take over a visitor's connection at a client's request: proxies reuse connections for different clients."""
        request = self._tunnel_request(data)
        if not request:
            return False
        pending = PendingConnection(sock, ip)
        if self._admit(pending, request):
            return True
        self._complain(pending, request)
        return False

    def _tunnel_request(self, data: bytes) -> Request | None:
        """Return the request in ``data``; None unless it is complete and asks for a path of the tunnel."""
        try:
            request = RequestReader().feed(data)
        except HeadError:
            return None
        if request and (self._is_channel(request) or request.path.startswith(f"{self._settings.path}/tunnel")):
            return request
        return None

    def _is_channel(self, request: Request) -> bool:
        return request.path == f"{self._settings.path}/channel"

    @functools.cached_property
    def _guard(self) -> "Guard":
        from .guard import make_guard  # noqa: PLC0415 - loads cryptography, for the first client that needs it

        return make_guard(self._settings, self._transport, self._certificates)

    def _certificates(self) -> frozenset[bytes]:
        return self._context.fingerprints if self._context else frozenset({b""})

    def _admit(self, pending: PendingConnection, request: Request) -> bool:
        """Admit a connection, even from a barred network, if its request proves a token; return whether it does."""
        message = upgrade.sealed_message(request)
        if message and self._settings.protection.seals and self._admit_sealed(pending, request, message):
            return True
        credential = self._bearer_of(request)
        if not credential:
            return False
        self.reputation.proved(pending.network)
        if upgrade.upgrade_problem(request):
            return False
        if self._is_channel(request):
            self._admit_legacy_channel(credential, pending, request)
        else:
            self._make_way(pending, None, functools.partial(self._admit_legacy, credential, pending, request))
        return True

    def _admit_legacy_channel(self, credential: Credential, pending: PendingConnection, request: Request) -> None:
        if self._sessions.returns_too_often(credential.name):
            release(self._poller, pending.sock)
            return
        occupant = self._sessions.occupant(credential.name)
        self._make_way(pending, occupant, functools.partial(self._admit_legacy, credential, pending, request))

    def _admit_sealed(self, pending: PendingConnection, request: Request, message: bytes) -> bool:
        if upgrade.upgrade_problem(request):
            return False
        if self._is_channel(request):
            return self._admit_channel(pending, request, message)
        found = self._guard.register.check(message)
        if found:
            self.reputation.proved(pending.network)
            self._poller.forget(pending.sock)
            self._admit_tunnel(found, pending, request)
        return bool(found)

    def _admit_channel(self, pending: PendingConnection, request: Request, message: bytes) -> bool:
        knock = self._guard.read(message, functools.partial(self._sessions.crowded, pending.network))
        if not knock:
            return False
        occupant = self._sessions.occupant(knock.credential.name, knock.hello.instance)
        then = functools.partial(self._greet, knock, pending, request)
        self._make_way(pending, None if knock.hello.probe else occupant, then)
        return True

    def _make_way(self, pending: PendingConnection, occupant: GateSession | None, then: Callable[[str], None]) -> None:
        """Call ``then`` with the reason why a client is refused, once it is known whether another one is alive.

        Meanwhile the connection waits in the lobby.
        """
        self._poller.forget(pending.sock)
        if not occupant:
            then("")
            return
        refusal = occupied(occupant.peer.address)

        def told(alive: bool) -> None:  # noqa: FBT001 - the answer itself
            if pending in self._lobby:
                self._lobby.take(pending)
                then(refusal if alive else "")

        self._lobby.admit(pending)
        occupant.ask(self._settings.limits.sign_of_life, told)

    def _greet(self, knock: "Knock", pending: PendingConnection, request: Request, refusal: str) -> None:
        greeting = self._guard.answer(knock, refusal)
        if greeting:
            self._answer(greeting, pending, request)
        else:  # its key was of small order, or its token has been removed meanwhile
            release(self._poller, pending.sock)

    def _answer(self, greeting: "Greeting", pending: PendingConnection, request: Request) -> None:
        """Send the answer to a handshake, and begin the session if one follows."""
        answer = upgrade.accept(upgrade.key_of(request), upgrade.message_line(greeting.message))
        if greeting.final:
            self._sessions.turned_away(greeting.peer(pending.ip), greeting.refusal, probe=greeting.probe)
            self._last_answers.add(pending.sock, answer, greeting.delay)
            return
        connection = Connection(pending.sock, greeting.peer(pending.ip), request.rest)
        self._send(pending, answer, functools.partial(self._begin, greeting, connection))

    def _begin(self, greeting: "Greeting", connection: Connection) -> None:
        within = self._settings.limits.answer_timeout
        session = self._guard.begin(greeting, self._poller, connection, self._sessions, answer_within=within)
        self._pings.add(session)
        self._sessions.await_confirmation(session, greeting.warning)

    def _admit_tunnel(self, found: "tuple[SealedSession, Seals]", pending: PendingConnection, request: Request) -> None:
        session, seals = found
        session.confirm()
        connection = SealedConnection(pending.sock, session.peer, request.rest, seals=seals)
        then = functools.partial(self._open_tunnel, connection, session)
        self._send(pending, upgrade.accept(upgrade.key_of(request)), then)

    def _bearer_of(self, request: Request) -> Credential | None:
        """Return the credential whose token the request carries in clear, or None."""
        if not self._settings.protection.allows_v072:
            return None
        token = upgrade.bearer(request)
        return None if token is None else self._credentials.find(token)

    def _complain(self, pending: PendingConnection, request: Request) -> None:
        what = upgrade.upgrade_problem(request) or self._unproved(request)
        complain = self._complaints.misused if self._bearer_of(request) else self._complaints.refused
        complain(pending, what)

    def _unproved(self, request: Request) -> str:
        message, bare = upgrade.sealed_message(request), upgrade.bearer(request)
        if not message and bare is None:
            return _NO_PROOF
        late = self._settings.protection.seals and message and not self._is_channel(request)
        return NO_CLIENT if late else "wrong token"

    def _admit_legacy(self, credential: Credential, pending: PendingConnection, request: Request, refusal: str) -> None:
        channel = self._is_channel(request)
        if channel and not self._credentials.accepts(credential):  # it has been removed meanwhile
            release(self._poller, pending.sock)
            return
        if refusal:
            self._sessions.turned_away(Peer(pending.ip, credential.name), refusal, probe=False)
            release(self._poller, pending.sock)
            return
        connection = Connection(pending.sock, Peer(pending.ip, credential.name), request.rest)
        if channel:
            admit = functools.partial(self._open_session, connection)
        elif isinstance(session := self._sessions.find(credential.name), HttpSession):
            admit = functools.partial(self._open_tunnel, connection, session)
        else:  # the client has given it up with its control channel, or its session is protected
            release(self._poller, pending.sock)
            return
        padding = self._padding(request, channel=channel)
        self._send(pending, upgrade.accept(upgrade.key_of(request), padding), admit)

    def _send(self, pending: PendingConnection, answer: bytes, then: Callable[[], None]) -> None:
        """Send the answer, then call ``then``; a connection that does not take all of it waits in the lobby."""
        try:
            sent = pending.sock.send(answer)
        except WOULD_BLOCK:
            sent = 0
        except OSError:
            release(self._poller, pending.sock)
            return
        if sent == len(answer):
            then()
            return
        self._lobby.admit(pending)

        def leave() -> None:
            self._lobby.take(pending)
            then()

        send_whole(self._poller, pending.sock, answer[sent:], leave, lambda _error: self._lobby.dismiss(pending))

    def _open_tunnel(self, connection: Connection, session: GateSession) -> None:
        if not session.connected:
            release(self._poller, connection.sock)
        elif self._transport.mux and not connection.peer.extended:
            self._settling.add(connection, session)
        else:
            self._tunnel_opened(connection)

    def _padding(self, request: Request, *, channel: bool) -> bytes:
        """Return the line that keeps v0.7.2 from losing the bytes after the answer, if it is needed and possible."""
        padded = self._transport.mux and not channel and not self._handshakes and upgrade.is_direct_v072(request)
        return upgrade.padding_line(upgrade.key_of(request)) if padded else b""

    def _tunnel_opened(self, connection: Connection) -> None:
        self._events.tunnel_opened(connection)

    def _show_decoy(self, pending: PendingConnection, data: bytes = b"", *, plain_on_tls: bool = False) -> None:
        self._poller.forget(pending.sock)
        self._decoy.welcome(pending.sock, pending.ip, pending.network, data, plain_on_tls=plain_on_tls)

    def _not_tls(self, pending: PendingConnection) -> None:
        self._lobby.take(pending)
        data = first_bytes(pending.sock)
        self._complaints.judged(pending, foreign(data, self._transport))
        self._show_decoy(pending, data, plain_on_tls=True)

    def _open_session(self, connection: Connection) -> None:
        if self._settings.protection.seals:
            warn_of_legacy(connection.peer)
        within = self._settings.limits.answer_timeout
        session = HttpSession(self._poller, connection, self._sessions, answer_within=within)
        self._pings.add(session)
        self._sessions.add(session)
        session.start()
