"""The door of ws, wss, wsmux and wssmux, which upgrades connections to the server or to a CDN."""

import asyncio
import functools
import random
import secrets
import socket
import ssl
from typing import Final

from backhaul.errors import TransportError
from backhaul.net.connector import Dialer, scoped_host
from backhaul.net.deadlines import Deadlines
from backhaul.net.poller import WOULD_BLOCK, Poller, release
from backhaul.net.resolver import Resolver
from backhaul.net.sending import send_whole
from backhaul.net.tls import ClientContext, shake_hands
from backhaul.relay.pings import Pings
from backhaul.transports.base import DoorEvents, Opened, unlike
from backhaul.transports.connection import Connection
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.control.websocket import PROBE, WsControlDecoder, encode_signal
from backhaul.transports.settings import ClientSettings
from backhaul.wire import upgrade
from backhaul.wire.peer import EXTENDED, V072
from backhaul.wire.signals import Signal
from backhaul.wire.transports import TRANSPORTS, Transport, marked

_READ_SIZE: Final = 1 << 14
_CHANNEL: Final = "/channel"
_MAX_USER_ID: Final = (1 << 31) - 1  # v0.7.2: a non-negative 31-bit number


class HttpDoor:
    """Dials the server; owns the control channel."""

    _events: DoorEvents

    def __init__(
        self, poller: Poller, pings: Pings, settings: ClientSettings, resolver: Resolver, transport: str
    ) -> None:
        """Raise TransportError when the authorities' file can't be used."""
        self._poller = poller
        self._pings = pings
        self._settings = settings
        self._transport = TRANSPORTS[transport]
        self._tokens = settings.tokens
        self._dialer = Dialer(poller, settings.dial_timeout, resolver)
        self._upgrading: Deadlines[_Upgrade] = Deadlines(settings.upgrade_timeout, self._expired)
        self._tls = ClientContext(settings.tls) if settings.tls else None
        self._user_agent = random.choice(upgrade.USER_AGENTS)  # noqa: S311 - no secret
        self._control: ControlChannel | None = None

    def start(self, events: DoorEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()

        def upgraded(result: Connection | Exception) -> None:
            if isinstance(result, Exception):
                if not future.done():
                    future.set_exception(result)
            elif future.done():
                release(self._poller, result.sock)
            else:
                future.set_result(result)

        self._dial(_CHANNEL, _user_id(), upgraded)
        try:
            connection = await future
            address = scoped_host(connection.sock.getpeername())
            self._listen(connection)
        except BaseException as error:
            self.disconnect()
            if isinstance(error, TransportError):
                self._tokens.refused()
            if future.done() and not future.cancelled() and not future.exception():
                release(self._poller, future.result().sock)  # connected, but no longer needed
            raise
        return address

    def dial(self, done: Opened) -> None:
        """Open a tunnel connection in the background and call ``done`` once, unless disconnected or closed before."""
        user_id = _user_id()
        self._dial(f"/tunnel/{user_id}", user_id, done)

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel, if there is one."""
        self._send(encode_signal(signal, masked=True))

    @property
    def can_ask(self) -> bool:
        """True: every WebSocket server answers a ping, even that of v0.7.2."""
        return True

    def probe(self) -> None:
        """Ping the server."""
        self._send(PROBE)

    def ping_if_silent(self) -> None:
        """Probe a silent control channel: the heartbeat of a v0.7.2 server may have a long interval."""
        if self._control:
            self._control.send_if_silent(PROBE)

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""
        self._pings.discard(self)
        self._dialer.close()
        self._abandon([attempt for attempt in self._upgrading if not attempt.expected])
        if self._control:
            self._control.close()
            self._control = None

    def close(self) -> None:
        """Abandon the connections that ``disconnect`` has left to be opened."""
        self._abandon(list(self._upgrading))

    def _abandon(self, attempts: "list[_Upgrade]") -> None:
        for attempt in attempts:
            self._upgrading.discard(attempt)
            attempt.abandon()

    def _dial(self, path: str, user_id: int, done: Opened) -> None:
        settings = self._settings
        connected = functools.partial(self._connected, path, user_id, done)
        host = settings.edge_ip or settings.remote_host
        self._dialer.dial(host, settings.remote_port, settings.tunnel_options, connected)

    def _connected(self, path: str, user_id: int, done: Opened, result: socket.socket | OSError) -> None:
        if isinstance(result, OSError):
            done(result)
            return
        token = self._tokens.current
        key = upgrade.encode_key(secrets.token_bytes(upgrade.NONCE_SIZE))
        request = upgrade.request(
            path=self._settings.path + path,
            host=self._settings.host_header,
            token=token,
            key=key,
            user_id=user_id,
            user_agent=self._user_agent,
            carrier=self._transport.mark,
        )
        reader = upgrade.AnswerReader(token, key)
        attempt = _Upgrade(self._poller, self._upgrading, request, reader, done, transport=self._transport)
        attempt.for_users = path != _CHANNEL
        self._upgrading.add(attempt)
        attempt.start(result, self._tls)

    def _listen(self, connection: Connection) -> None:
        decoder = WsControlDecoder(self._send, from_client=False)
        self._control = ControlChannel(self._poller, connection.sock, decoder, self._on_signal, self._lost)
        self._pings.add(self)
        self._control.start(connection.received)

    def _send(self, data: bytes) -> None:
        if self._control:
            self._control.send(data)

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.HEARTBEAT:
            self.send(Signal.HEARTBEAT)
        self._events.signal_received(signal)

    def _expired(self, attempt: "_Upgrade") -> None:
        attempt.expired(self._settings.upgrade_timeout)

    def _lost(self, reason: str) -> None:
        self._control = None
        self._pings.discard(self)
        self._events.control_lost(reason)


class _Upgrade:
    """A connection on its way from TCP to WebSocket; ``done`` is called once, unless it is abandoned."""

    def __init__(
        self,
        poller: Poller,
        running: "Deadlines[_Upgrade]",
        request: bytes,
        reader: upgrade.AnswerReader,
        done: Opened,
        *,
        transport: Transport,
    ) -> None:
        self.for_users = False
        self._asked = False
        self._transport = transport
        self._poller = poller
        self._running = running
        self._request = request
        self._reader = reader
        self._done = done
        self._sock: socket.socket | None = None
        self._tls: ClientContext | None = None

    @property
    def expected(self) -> bool:
        """True if the server may know of the connection already, and have a user for it."""
        return self.for_users and self._asked

    def start(self, sock: socket.socket, tls: ClientContext | None) -> None:
        """Take over a new connection and begin."""
        self._sock = sock
        self._tls = tls
        if not tls:
            self._ask(sock)
            return
        try:
            self._sock = wrapped = tls.wrap(sock)
        except OSError as error:
            self._fail(error)
            return
        shake_hands(self._poller, wrapped, self._shaken)

    def abandon(self) -> None:
        """Close without a call of ``done``."""
        if self._sock:
            release(self._poller, self._sock)

    def expired(self, seconds: float) -> None:
        """Fail, because the server has not answered in time."""
        self._fail(TransportError(f"the server did not answer the upgrade within {seconds:g} s"))

    def _shaken(self, result: socket.socket | Exception) -> None:
        if self not in self._running:
            return
        try:
            if isinstance(result, Exception):
                raise result
            if self._tls and isinstance(result, ssl.SSLSocket):
                self._tls.check(result)
        except (OSError, TransportError) as error:
            self._fail(error)
            return
        self._ask(result)

    def _ask(self, sock: socket.socket) -> None:
        self._asked = True
        listen = functools.partial(self._poller.on_readable, sock, functools.partial(self._readable, sock))
        send_whole(self._poller, sock, self._request, listen, self._fail)

    def _readable(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_SIZE)
            answer = self._reader.feed(data) if data else None
        except WOULD_BLOCK:
            return
        except (OSError, TransportError) as error:
            self._fail(error)
            return
        if not data:
            self._fail(TransportError("the server closed the connection during the upgrade"))
        elif answer and answer.carrier not in {"", self._transport.mark}:
            server = marked(answer.carrier, tls=self._transport.tls)
            self._fail(TransportError(unlike("server", server.name, self._transport.name)))
        elif answer:
            self._running.discard(self)
            self._poller.ignore_readable(sock)
            if self._tls and isinstance(sock, ssl.SSLSocket):
                self._tls.remember(sock)
            self._done(Connection(sock, EXTENDED if answer.carrier else V072, answer.rest))

    def _fail(self, error: Exception) -> None:
        self._running.discard(self)
        self.abandon()
        self._done(error)


def _user_id() -> int:
    return random.randint(0, _MAX_USER_ID)  # noqa: S311 - no secret: it is in the URL
