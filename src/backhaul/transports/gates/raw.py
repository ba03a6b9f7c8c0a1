"""The gate of tcp, tcpmux and udp on the public end: it admits control channels and tunnel connections.

A v0.7.2 client sends nothing on a tunnel connection, so only the address of its control channel vouches for it. A
client with extensions shows a ticket that it got on the control channel, from any address. Until it is known which of
the two the client is, silent connections from its address wait: they may be a neighbour's.
"""

import asyncio
import functools
import hmac
import logging
import secrets
import socket
from typing import Any

from backhaul.addresses import plain_ip
from backhaul.failures import network_of
from backhaul.net.listener import Acceptor
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller, release
from backhaul.net.predicates import has_input
from backhaul.transports.base import GateEvents, ServerSettings, taken_over, unlike
from backhaul.transports.connection import Connection
from backhaul.transports.control.channel import ControlChannel
from backhaul.wire.control import ServerControlDecoder, hello_answer
from backhaul.wire.frames import HEAD_SIZE, Frame, FrameReader, FrameTooLongError, encode
from backhaul.wire.peer import V072, Peer
from backhaul.wire.signals import TICKET_SIZE, Signal
from backhaul.wire.smux import is_nop
from backhaul.wire.transports import TRANSPORTS

from .lobby import Lobby, PendingConnection, first_words
from .reputation import Reputation, barred_line

log = logging.getLogger("backhaul.server")

MAX_GREETING = 1024  # bytes of a token, unless the configured one is longer
_SECOND_THOUGHT = 0.05  # seconds within which a returning client has begun its handshake


class RawGate:
    """Listens on the tunnel's address and sorts the connections, which it owns until then."""

    def __init__(self, poller: Poller, settings: ServerSettings, events: GateEvents, transport: str) -> None:
        """`transport` is tcp, tcpmux or udp; tcpmux measures no round trip, as in v0.7.2."""
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._settings = settings
        self._token = settings.token.encode()
        self._events = events
        self._transport = TRANSPORTS[transport]
        self._decoder = ServerControlDecoder()
        self._reputation = Reputation(settings.limits)
        self._lobby = Lobby(
            poller,
            self._reputation,
            self._said,
            limit=settings.limits.pending,
            share=settings.limits.pending_per_address,
            seconds=settings.limits.handshake_timeout,
            left=self._left,
        )
        self._doubt = False  # whether the client may still turn out to have extensions
        self._grace: asyncio.TimerHandle | None = None  # runs after the answer to the RTT signal, while in doubt
        self._held: dict[_PendingClient, None] = {}  # silent connections from the client's address
        self._throttle = LogThrottle(log)
        self._acceptor: Acceptor | None = None
        self._control: ControlChannel | None = None
        self._control_ip = ""
        self._peer = V072
        self._proof = b""  # the ticket, as a tunnel connection shows it; empty if there is none
        self._rtt_asked = 0.0
        self.rtt = 0.0  # seconds, of the last handshake

    @property
    def connected(self) -> bool:
        """True if a control channel is open."""
        return self._control is not None

    @property
    def vouches(self) -> bool:
        """See Gate: for connections with a ticket, which do not exist on tcpmux."""
        return bool(self._proof)

    @property
    def ticket(self) -> bytes:
        """The ticket of the present client; empty if it is v0.7.2, or if there is none."""
        return self._proof[HEAD_SIZE:]

    def start(self) -> None:
        """Listen; raises OSError."""
        settings = self._settings
        listener = settings.listeners.streams(settings.bind_host, settings.bind_port, settings.tunnel_options)
        self._acceptor = Acceptor(self._poller, listener, self._accepted, self._refused)

    def send(self, signal: Signal) -> None:
        """Send `signal` on the control channel, if there is one."""
        if self._control:
            self._control.send(bytes([signal]))

    def greet(self, sock: socket.socket, ip: str, data: bytes = b"") -> None:
        """Take over a connection that begins with a handshake or a ticket, or is to be closed."""
        data = data or first_words(sock)
        if self._proof and hmac.compare_digest(data[: len(self._proof)], self._proof):
            self._let_in(sock, ip, data[len(self._proof) :])
        else:
            self._hear(self._make_pending(sock, ip), data)

    def _let_in(self, sock: socket.socket, ip: str, rest: bytes) -> None:
        if ip != self._control_ip:  # that network has proved itself with the token
            self._reputation.proved(network_of(ip))
        self._events.tunnel_opened(Connection(sock, self._peer, rest))

    def _make_pending(self, sock: socket.socket, ip: str) -> "_PendingClient":
        return _PendingClient(sock, ip, max(MAX_GREETING, len(self._token)))

    def _hear(self, pending: "_PendingClient", data: bytes) -> None:
        self._lobby.admit(pending)
        if data:
            self._said(pending, data)
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
        """Take no more connections and close the control channel."""
        if self._acceptor:
            self._acceptor.close()
            self._acceptor = None
        self._dispel()
        self._lobby.close()
        if self._control:
            self._control.close()
            self._control = None

    def _accepted(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        ip = plain_ip(address)
        if not self._control or self._proof or ip != self._control_ip:
            self.greet(sock, ip)
        elif self._control.unanswered:
            again = functools.partial(self._decide, sock, ip)
            self._loop.call_later(_SECOND_THOUGHT, self._poller.run, sock, again)
        else:
            self._admit(sock, ip)

    def _decide(self, sock: socket.socket, ip: str) -> None:
        """Admit a silent connection; one that has sent something may be the client, back after its old channel died."""
        if not self._acceptor:
            release(self._poller, sock)
        elif has_input(sock) or not self._control or self._proof or ip != self._control_ip:
            self.greet(sock, ip)
        else:
            self._admit(sock, ip)

    def _admit(self, sock: socket.socket, ip: str) -> None:
        """Admit a connection by its address, or hold it while the client may be one that shows tickets."""
        if not self._doubt:
            self._events.tunnel_opened(Connection(sock, self._peer))
            return
        pending = self._make_pending(sock, ip)
        self._held[pending] = None
        self._hear(pending, first_words(sock))

    def _left(self, pending: "_PendingClient") -> None:
        self._held.pop(pending, None)

    def _begin_doubt(self) -> None:
        """Ask for the round trip, to which a client with extensions adds a hello."""
        self._doubt = True
        self._rtt_asked = self._loop.time()
        self.send(Signal.RTT)

    def _answered(self) -> None:
        self.rtt = self._loop.time() - self._rtt_asked
        self._rtt_asked = 0.0
        if self._doubt:
            self._grace = self._loop.call_later(self._settings.limits.hello_grace, self._take_for_v072)

    def _take_for_v072(self) -> None:
        """Admit the held connections in their order."""
        held = list(self._held)
        self._dispel()
        for pending in held:
            self._lobby.take(pending)
            self._events.tunnel_opened(Connection(pending.sock, self._peer))

    def _dispel(self) -> None:
        """End the doubt; held connections have to prove themselves like all others."""
        self._doubt = False
        self._held.clear()
        if self._grace:
            self._grace.cancel()
            self._grace = None

    def _refused(self, error: OSError) -> None:
        self._throttle.warn(error.errno, f"can't accept a tunnel connection: {error.strerror}")

    def _said(self, pending: "_PendingClient", data: bytes) -> None:
        self._held.pop(pending, None)
        if self._control and pending.ip == self._control_ip and is_nop(data):
            self._events.fit.mismatched(unlike("client", "tcpmux", self._transport.name))
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
        if frame.kind == Signal.CHANNEL and hmac.compare_digest(frame.body, self._token):
            self._trust(pending)
            self._open_control(pending, frame.rest)
        elif frame.kind == Signal.TICKET and self._proof and hmac.compare_digest(frame.body, self.ticket):
            self._trust(pending)
            self._events.tunnel_opened(Connection(pending.sock, self._peer, frame.rest))
        elif frame.kind == Signal.TICKET and not self._control_ip:
            self._lobby.dismiss(pending)  # a ticket of the process before this one; its client is about to connect
        else:
            self._refuse(pending, "wrong token" if frame.kind == Signal.CHANNEL else "no valid handshake")

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

    def _open_control(self, pending: "_PendingClient", rest: bytes) -> None:
        if self._control:
            self._control.close()
            self._control = None
            self._events.control_lost(taken_over(pending.ip))
        self._dispel()
        self._proof = b""
        self._control_ip = pending.ip
        self._peer = Peer(pending.ip)
        self._decoder = ServerControlDecoder()
        self._control = ControlChannel(self._poller, pending.sock, self._decoder, self._heard, self._lost)
        self._control.send(encode(Signal.CHANNEL, self._token))
        if self._transport.rtt:
            self._begin_doubt()
        self._events.control_opened(pending.ip)
        self._control.start(rest)

    def _heard(self, signal: Signal) -> None:
        if signal == Signal.RTT and self._rtt_asked:
            self._answered()
        elif signal == Signal.HELLO and self._control:
            self._greeted()
        elif signal == Signal.CLOSED:
            self._lost("the client closed it to stop or to reload", goodbye=True)

    def _greeted(self) -> None:
        assert self._control is not None  # noqa: S101 - the hello came on it
        if self._decoder.transport == self._transport.name:
            self._recognise()
            self._control.send(hello_answer(self._transport.name, self.ticket))
        else:  # the client learns it from the answer and leaves; its ticket admits nothing
            self._control.send(hello_answer(self._transport.name, secrets.token_bytes(TICKET_SIZE)))
            self._events.fit.mismatched(
                unlike("client", self._decoder.transport or "another transport", self._transport.name)
            )

    def _recognise(self) -> None:
        if not self._proof:
            self._proof = encode(Signal.TICKET, secrets.token_bytes(TICKET_SIZE))
            self._peer = self._peer.with_extensions()
            self._dispel()
            self._events.client_recognised()

    def _lost(self, reason: str, *, goodbye: bool = False) -> None:
        if self._control:
            self._control.close()
            self._control = None
            self._proof = b""
            self._dispel()
            self._events.control_lost(reason, goodbye=goodbye)


class _PendingClient(PendingConnection):
    """A connection that has to begin with a handshake or a ticket."""

    __slots__ = ("reader",)

    def __init__(self, sock: socket.socket, ip: str, limit: int) -> None:
        super().__init__(sock, ip)
        self.reader = FrameReader(limit)
