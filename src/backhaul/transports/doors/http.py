"""The door of ws, wss, wsmux and wssmux, which upgrades connections to the server or to a CDN."""

import asyncio
import functools
import random
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from backhaul.errors import TransportError
from backhaul.net.closing import release
from backhaul.net.deadlines import Deadlines
from backhaul.net.poller import Poller
from backhaul.net.resolver import Resolver
from backhaul.net.tcp_info import TcpInfo
from backhaul.net.tls import ClientContext, fingerprint
from backhaul.relay.pings import Pings
from backhaul.transports.client_end import Answer, Opened
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.transports.settings import ClientSettings
from backhaul.wire import upgrade
from backhaul.wire.peer import V072, Peer
from backhaul.wire.transports import TRANSPORTS

from .door import MAX_PADDING, USUAL_HINT, SealingDoor, UnansweredError
from .http_upgrade import Ask, Done, Upgrade, Upgraded
from .http_v072 import WsLine
from .lines import Line

if TYPE_CHECKING:
    from backhaul.security.session import Admission

    from .handshake import Handshake

_CHANNEL: Final = "/channel"
_MAX_USER_ID: Final = (1 << 31) - 1  # v0.7.2: a non-negative 31-bit number
_OTHER_CERTIFICATE: Final = (
    "a tunnel connection got another certificate than the control channel: the server's is new, or TLS is terminated "
    "between client and server"
)
_ELSEWHERE: Final = "does a proxy in between send them to another server than the control channel?"
_UNSEALED: Final = "the server did not answer the protected handshake"
_OTHER_COOKIE: Final = "does a proxy in between remove or replace cookies, or does another program answer?"


class HttpDoor(SealingDoor):
    """Dials the server; owns the control channel."""

    def __init__(
        self, poller: Poller, pings: Pings, settings: ClientSettings, resolver: Resolver, transport: str
    ) -> None:
        """Raise TransportError when the authorities' file can't be used."""
        super().__init__(poller, settings, resolver)
        self._pings = pings
        self._transport = TRANSPORTS[transport]
        self._upgrading: Deadlines[Upgrade] = Deadlines(settings.upgrade_timeout, self._expired)
        self._tls = ClientContext(settings.tls) if settings.tls else None
        self._certificate = b""  # which tunnel connections must get; empty if it does not matter
        self._user_agent = random.choice(upgrade.USER_AGENTS)  # noqa: S311 - no secret

    def ping_if_silent(self) -> None:
        """Ping a silent control channel: the heartbeat may have a longer interval than a proxy's patience."""
        self._line.ping_if_silent()

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""
        self._dialer.close()
        for attempt in list(self._upgrading):
            if not attempt.expected:
                attempt.cancel()
        self._hang_up()

    def close(self) -> None:
        """Stop to open the connections that ``disconnect`` has left."""
        for attempt in list(self._upgrading):
            attempt.cancel()

    def _dial_tunnel(self, line: Line, done: Opened, *, resumes: bool) -> None:
        user_id = _user_id()
        asked = self._asked(f"/tunnel/{user_id}", user_id)
        if admission := line.admission(resumes=resumes):
            message = admission.data + secrets.token_bytes(secrets.randbelow(MAX_PADDING))
            opened = functools.partial(self._open_sealed, line.server, admission, done)
            self._dial(asked, functools.partial(self._admit, asked, message), opened, for_users=True)
        else:
            token = self._tokens.current
            opened = functools.partial(_open_legacy, done)
            self._dial(asked, lambda _sock: upgrade.request(asked, token), opened, for_users=True)

    def _open_sealed(self, server: Peer, admission: "Admission", done: Opened, result: Upgraded | Exception) -> None:
        """Pass on a connection. If the answer is lost, the server may have begun a session, which it would keep."""
        if isinstance(result, Exception):
            self.tell_ended(admission.seals.identity)
            done(_explained(result))
        else:
            done(SealedConnection(result.sock, server, result.rest, seals=admission.seals))

    async def _connect_sealed(self) -> str:
        from backhaul.security.noise import HandshakeError  # noqa: PLC0415 - both load cryptography

        from .handshake import Handshake, Seen  # noqa: PLC0415

        asked = self._asked(_CHANNEL, _user_id())
        handshakes: list[Handshake] = []

        def ask(sock: socket.socket) -> bytes:
            seen = Seen(_certificate_of(sock), self._verifies)
            handshakes.append(Handshake(self._settings, self._transport, seen))
            return upgrade.sealed_request(asked, handshakes[0].message)

        try:
            upgraded = await self._upgrade(asked, ask)
        except upgrade.RefusedError as error:
            raise UnansweredError(error.what, error.hint or USUAL_HINT) from None
        try:
            return self._keep(upgraded, functools.partial(self._begin_sealed, handshakes[0]))
        except HandshakeError:  # a server with another token does not switch
            raise UnansweredError(_UNSEALED, _OTHER_COOKIE) from None

    async def _connect_legacy(self) -> str:
        asked, token = self._asked(_CHANNEL, _user_id()), self._tokens.current
        try:
            upgraded = await self._upgrade(asked, lambda _sock: upgrade.request(asked, token))
        except TransportError:
            self._tokens.refused()
            raise
        return self._keep(upgraded, self._begin_legacy)

    def _keep(self, upgraded: Upgraded, begin: Callable[[Upgraded], None]) -> str:
        """Use a connection as control channel; return the server's address."""
        try:
            peer = self._dialer.peer_of(upgraded.sock, self._host)
            begin(upgraded)
        except BaseException:
            self.disconnect()
            release(self._poller, upgraded.sock)
            raise
        self._pings.add(self)
        return peer

    def _begin_sealed(self, handshake: "Handshake", upgraded: Upgraded) -> None:
        agreement = handshake.finish(upgraded.message)
        within_tls = not (self._verifies or agreement.terms.keys.payload)
        self._certificate = _certificate_of(upgraded.sock) if within_tls else b""
        line = agreement.line(self._poller, upgraded.sock, self._heard, self._lost, on_check=self._check_wanted)
        self._agree(agreement.warning, line, upgraded.rest)

    def _admit(self, asked: upgrade.Asked, admission: bytes, sock: socket.socket) -> bytes:
        """Return the request for a tunnel connection, whose TLS is all that protects its users.

        If the certificate differs from that of the control channel, which the server has recognised, an attacker may
        end TLS in between. Raises TransportError then, and gives up the control channel: the next handshake recognises
        a renewed certificate.
        """
        if self._certificate and _certificate_of(sock) != self._certificate:
            self._hang_up()
            self._events.control_lost(_OTHER_CERTIFICATE)
            raise TransportError(_OTHER_CERTIFICATE)
        return upgrade.sealed_request(asked, admission)

    @property
    def _host(self) -> str:
        return self._settings.edge_ip or self._settings.remote_host

    @property
    def _verifies(self) -> bool:
        return self._tls is not None and self._tls.verifies

    def _begin_legacy(self, upgraded: Upgraded) -> None:
        self._line = WsLine(self._poller, upgraded.sock, self._heard, self._lost)
        self._line.start(upgraded.rest)

    async def _ask(self) -> Answer:
        from backhaul.security.noise import HandshakeError  # noqa: PLC0415 - as above

        from .handshake import Seen  # noqa: PLC0415
        from .probe import Probe, check, probe_of  # noqa: PLC0415

        settings, asked = self._settings, self._asked(_CHANNEL, _user_id())
        sent: list[tuple[Probe, float]] = []

        def ask(sock: socket.socket) -> bytes:
            probe = probe_of(settings, self._transport, Seen(_certificate_of(sock), self._verifies))
            sent.append((probe, time.perf_counter()))
            return upgrade.sealed_request(asked, probe.message)

        try:
            async with asyncio.timeout(settings.dial_timeout + settings.upgrade_timeout):  # also when it is abandoned
                upgraded = await self._request(asked, ask)
        except upgrade.RefusedError as error:
            raise UnansweredError(error.what) from None
        [(probe, begun)] = sent
        try:
            check(probe, upgraded.message)
            return Answer(time.perf_counter() - begun, TcpInfo.of(upgraded.sock).resent)
        except HandshakeError:
            raise UnansweredError("the server did not answer a question") from None
        finally:
            release(self._poller, upgraded.sock)

    async def _upgrade(self, asked: upgrade.Asked, ask: Ask) -> Upgraded:
        """Return a connection for the control channel; disconnect after a failure. Raises OSError or TransportError."""
        try:
            return await self._request(asked, ask)
        except BaseException:
            self.disconnect()
            raise

    async def _request(self, asked: upgrade.Asked, ask: Ask) -> Upgraded:
        """Return a connection to the server after its upgrade. Raises OSError or TransportError."""
        future: asyncio.Future[Upgraded] = asyncio.get_running_loop().create_future()

        def done(result: Upgraded | Exception) -> None:
            if isinstance(result, Exception):
                if not future.done():
                    future.set_exception(result)
            elif future.done():
                release(self._poller, result.sock)
            else:
                future.set_result(result)

        self._dial(asked, ask, done, for_users=False)
        try:
            return await future
        except BaseException:
            if future.done() and not future.cancelled() and not future.exception():
                release(self._poller, future.result().sock)  # connected, but no longer needed
            raise

    def _dial(self, asked: upgrade.Asked, ask: Ask, done: Done, *, for_users: bool) -> None:
        settings = self._settings

        def connected(result: socket.socket | OSError) -> None:
            if isinstance(result, OSError):
                done(result)
                return
            reader = upgrade.AnswerReader(asked.key)
            attempt = Upgrade(self._poller, self._upgrading, ask, reader, done, for_users=for_users)
            self._upgrading.add(attempt)
            attempt.start(result, self._tls)

        self._dialer.dial(self._host, settings.remote_port, settings.tunnel_options, connected)

    def _asked(self, path: str, user_id: int) -> upgrade.Asked:
        return upgrade.Asked(
            path=self._settings.path + path,
            host=self._settings.host_header,
            default_port=self._transport.default_port,
            key=upgrade.encode_key(secrets.token_bytes(upgrade.NONCE_SIZE)),
            user_id=user_id,
            user_agent=self._user_agent,
        )

    def _expired(self, attempt: Upgrade) -> None:
        attempt.expired(self._settings.upgrade_timeout)

    def _hang_up(self) -> None:
        self._pings.discard(self)
        super()._hang_up()

    def _lost(self, reason: str) -> None:
        self._pings.discard(self)
        super()._lost(reason)


def _certificate_of(sock: socket.socket) -> bytes:
    """Return the SHA-256 of the server's certificate; empty without TLS."""
    return fingerprint(sock) if isinstance(sock, ssl.SSLSocket) else b""


def _explained(error: Exception) -> Exception:
    """Return the error of a tunnel connection: a server that refuses it does not know the control channel."""
    return upgrade.RefusedError(error.what, _ELSEWHERE) if isinstance(error, upgrade.RefusedError) else error


def _open_legacy(done: Opened, result: Upgraded | Exception) -> None:
    done(result if isinstance(result, Exception) else Connection(result.sock, V072, result.rest))


def _user_id() -> int:
    return random.randint(0, _MAX_USER_ID)  # noqa: S311 - no secret: it is in the URL
