"""The client's control channel on tcp, tcpmux and udp towards a server of v0.7.2."""

import asyncio
import hmac
import socket
from collections.abc import Callable

from backhaul.errors import TransportError
from backhaul.net.poller import Poller
from backhaul.transports.client_end import ClientControlEvents
from backhaul.transports.control.channel import ControlChannel
from backhaul.transports.reasons import unlike
from backhaul.wire.checks import Health
from backhaul.wire.control import ClientControlDecoder
from backhaul.wire.frames import FrameReader, FrameTooLongError, encode
from backhaul.wire.peer import V072
from backhaul.wire.signals import Signal
from backhaul.wire.transports import Transport


async def shake_hands(loop: asyncio.AbstractEventLoop, sock: socket.socket, token: bytes) -> bytes:
    """Exchange the token; return the bytes after the server's. Raises OSError or TransportError."""
    await loop.sock_sendall(sock, encode(Signal.CHANNEL, token))
    reader = FrameReader(len(token))
    while data := await loop.sock_recv(sock, 4096):
        try:
            frame = reader.feed(data)
        except FrameTooLongError:
            raise TransportError("the server's answer is not a Backhaul handshake") from None
        if frame:
            if frame.kind != Signal.CHANNEL or not hmac.compare_digest(frame.body, token):
                raise TransportError("the server answered with another token")
            return frame.rest
    raise TransportError("the server closed the connection during the handshake; is the token right?")


class RawLine:
    """Owns the control channel."""

    server = V072
    keys = None
    can_ask = False

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        transport: Transport,
        events: ClientControlEvents,
        lost: Callable[[str], None],
        *,
        grace: float,
    ) -> None:
        """``grace`` is the time in seconds for the RTT signal, with which servers of tcp and udp begin."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._events = events
        self._report_loss = lost
        self._grace = grace
        self._greeted = False  # the RTT signal has come
        self._overdue: asyncio.TimerHandle | None = None  # runs until it is due
        self.misfit = ""
        """A line about a server of another transport; otherwise empty."""
        self._control = ControlChannel(poller, sock, ClientControlDecoder(), self._on_signal, self._lost)

    def start(self, rest: bytes = b"") -> None:
        """Begin to read; ``rest`` holds the bytes after the handshake."""
        if self._transport.rtt:
            self._overdue = self._loop.call_later(self._grace, self._check_greeting)
        self._control.start(rest)

    def admission(self, *, resumes: bool) -> None:
        """Return None: v0.7.2 admits connections by their address."""

    def send(self, signal: Signal) -> None:
        """Send ``signal`` as one byte."""
        self._control.send(bytes([signal]))

    def refuse(self, target: str, reason: str) -> None:
        """Do nothing: v0.7.2 has no signal for this."""

    def report(self, health: Health) -> None:
        """Do nothing: v0.7.2 asks for no checks."""

    def tell_ended(self, identity: bytes) -> None:
        """Do nothing: no session with v0.7.2 outlives its connection."""

    def probe(self) -> None:
        """Do nothing: v0.7.2 does not answer."""

    def ping_if_silent(self) -> None:
        """Do nothing: the kernel probes."""

    def close(self) -> None:
        """Close the channel."""
        if self._overdue:
            self._overdue.cancel()
        self._control.close()

    def _on_signal(self, signal: Signal) -> None:
        if signal != Signal.RTT:
            self._events.signal_received(signal)
            return
        self._control.send(bytes([Signal.RTT]))
        self._greeted = True
        if not self._transport.rtt:
            self._mismatched("tcp or udp")

    def _check_greeting(self) -> None:
        if not self._greeted and not self._control.closed:
            self._mismatched("tcpmux")

    def _mismatched(self, theirs: str) -> None:
        self.misfit = unlike("server", theirs, self._transport.name)
        self._events.fit.mismatched(self.misfit)
        self._events.control_lost(self.misfit)

    def _lost(self, reason: str) -> None:
        self.close()
        self._report_loss(reason)
