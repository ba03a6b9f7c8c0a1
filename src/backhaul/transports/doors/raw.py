"""The door of tcp, tcpmux and udp: the control channel, and tunnel connections with their ticket."""

import asyncio
import contextlib
import hmac
import socket
from typing import TYPE_CHECKING

from backhaul.errors import TransportError
from backhaul.net.connector import Dialer, scoped_host
from backhaul.net.poller import Poller, release
from backhaul.net.resolver import Resolver
from backhaul.transports.base import DoorEvents, Opened, unlike
from backhaul.transports.connection import Connection
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.settings import ClientSettings
from backhaul.wire.control import ClientControlDecoder, hello
from backhaul.wire.frames import FrameReader, FrameTooLongError, encode
from backhaul.wire.peer import EXTENDED, V072
from backhaul.wire.signals import Signal
from backhaul.wire.transports import TRANSPORTS

if TYPE_CHECKING:
    from backhaul.security.session import SessionKeys  # loads cryptography

# A server with extensions answers a hello at once, and a v0.7.2 server never does. The client waits for four round
# trips and a moment of scheduling, so that its first tunnel connections can show their ticket.
_HELLO_ROUND_TRIPS, _HELLO_GRACE = 4, 0.05


class RawDoor:
    """Dials the server; owns the control channel."""

    _events: DoorEvents
    keys: "SessionKeys | None" = None
    """The keys of a protected session; None while the server is v0.7.2 or not connected."""

    def __init__(
        self,
        poller: Poller,
        settings: ClientSettings,
        resolver: Resolver,
        transport: str,
    ) -> None:
        """``transport`` is tcp, tcpmux or udp."""
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._settings = settings
        self._tokens = settings.tokens
        self._transport = TRANSPORTS[transport]
        self._greeted = False  # the server has sent the RTT signal, with which those of tcp and udp begin
        self._overdue: asyncio.TimerHandle | None = None  # runs until the signal is due
        self._misfit = ""  # one line about a server of another transport
        self._dialer = Dialer(poller, settings.dial_timeout, resolver)
        self._control: ControlChannel | None = None
        self._decoder = ClientControlDecoder()
        self._known = asyncio.Event()  # set once the server has answered the hello, or no longer needs to
        self._held: list[Opened] = []  # tunnel connections that are dialled after that
        self._address = ("", 0)

    @property
    def ticket(self) -> bytes:
        """The ticket of this client; empty while the server is v0.7.2 or not connected."""
        return self._decoder.ticket if self._control else b""

    def start(self, events: DoorEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events

    async def connect(self) -> str:
        """Open the control channel; return the server's address. Raises OSError or TransportError."""
        settings = self._settings
        sock = await self._dialer.connect(settings.remote_host, settings.remote_port, settings.tunnel_options)
        try:
            return await self._open(sock)
        except BaseException as error:
            self.disconnect()
            release(self._poller, sock)
            if isinstance(error, Exception) and not self._misfit:
                self._tokens.refused()
            raise

    def dial(self, done: Opened) -> None:
        """Open a tunnel connection once it is known whether the server has extensions.

        Before that the server would refuse it, because it lacks the ticket that is on its way.
        """
        if not self._known.is_set():
            self._held.append(done)
            return
        decoder = self._decoder

        def connected(result: socket.socket | OSError) -> None:
            done(result if isinstance(result, OSError) else show(self._poller, result, decoder.ticket))

        self._dialer.dial(*self._address, self._settings.tunnel_options, connected)

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel, if there is one."""
        if self._control:
            self._control.send(bytes([signal]))

    @property
    def can_ask(self) -> bool:
        """True if the server answers hellos; only one with extensions does, and none on tcpmux."""
        return bool(self.ticket)

    def probe(self) -> None:
        """Send a hello, if the server answers it."""
        if self._control and self.can_ask:
            self._control.send(hello(self._transport.name))

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""
        self._dialer.close()
        self._held.clear()
        if self._overdue:
            self._overdue.cancel()
        if self._control:
            self._control.close()
            self._control = None

    def close(self) -> None:
        """Do nothing: ``disconnect`` leaves nothing to be opened."""

    async def _open(self, sock: socket.socket) -> str:
        self._address = (scoped_host(sock.getpeername()), self._settings.remote_port)
        begun = self._loop.time()
        try:
            async with asyncio.timeout(self._settings.handshake_timeout):
                rest = await self._shake_hands(sock)
        except TimeoutError:
            raise TransportError(
                "the server did not answer the handshake; is the token right, and no other client connected?"
            ) from None
        round_trip = self._loop.time() - begun
        self._listen(sock, rest)
        await self._learn_who_answers(_HELLO_ROUND_TRIPS * round_trip + _HELLO_GRACE)
        if self._misfit:
            raise TransportError(self._misfit)
        return self._address[0]

    async def _shake_hands(self, sock: socket.socket) -> bytes:
        await self._loop.sock_sendall(sock, encode(Signal.CHANNEL, self._tokens.current))
        reader = FrameReader(len(self._tokens.current))
        while data := await self._loop.sock_recv(sock, 4096):
            try:
                frame = reader.feed(data)
            except FrameTooLongError:
                raise TransportError("the server answered something that is no Backhaul handshake") from None
            if frame:
                if frame.kind != Signal.CHANNEL or not hmac.compare_digest(frame.body, self._tokens.current):
                    raise TransportError("the server answered with another token")
                return frame.rest
        raise TransportError("the server closed the connection during the handshake; is the token right?")

    def _listen(self, sock: socket.socket, rest: bytes) -> None:
        self._decoder = ClientControlDecoder()
        self._known.clear()
        self._greeted = False
        self._misfit = ""
        if self._transport.rtt:
            self._overdue = self._loop.call_later(self._settings.greeting_grace, self._check_greeting)
        self._control = ControlChannel(self._poller, sock, self._decoder, self._on_signal, self._lost)
        self._control.start(rest)

    async def _learn_who_answers(self, patience: float) -> None:
        # On tcpmux no hello is due, unless the server runs another transport and names it.
        if self._transport.rtt or self._misfit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._known.wait()
        self._known.set()
        held, self._held = self._held, []
        for done in held:
            self.dial(done)

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.RTT and self._control:
            self._control.send(bytes([Signal.RTT]) + hello(self._transport.name))
            self._greeted = True
            if not self._transport.rtt:
                self._mismatched("tcp or udp")
            return
        if signal == Signal.HELLO:
            if self._known.is_set():  # the wait for it has ended
                self._events.server_recognised()
            self._known.set()
            if self._decoder.transport != self._transport.name:
                self._mismatched(self._decoder.transport or "another transport")
        self._events.signal_received(signal)

    def _check_greeting(self) -> None:
        if self._control and not self._greeted:
            self._mismatched("tcpmux")

    def _mismatched(self, theirs: str) -> None:
        self._misfit = unlike("server", theirs, self._transport.name)
        self._events.fit.mismatched(self._misfit)
        self._events.control_lost(self._misfit)

    def _lost(self, reason: str) -> None:
        self._control = None
        self._known.set()
        self._events.control_lost(reason)


def show(poller: Poller, sock: socket.socket, ticket: bytes) -> Connection | OSError:
    """Return the connection after it has sent the ticket, if there is one."""
    if not ticket:
        return Connection(sock, V072)
    try:
        # The send takes all or nothing: an empty buffer of any size takes a segment (tcp_sendmsg). A segment has at
        # least 88 bytes, and these are 19.
        sock.send(encode(Signal.TICKET, ticket))
    except OSError as error:  # the server has closed it already, for instance for lack of descriptors
        release(poller, sock)
        return error
    return Connection(sock, EXTENDED)
