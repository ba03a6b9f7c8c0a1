"""A client of v0.7.2 on tcp, tcpmux or udp after its handshake: control channel and round trip."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from backhaul.net.poller import Poller
from backhaul.transports.connection import Connection
from backhaul.wire.checks import Check
from backhaul.wire.control import ServerControlDecoder
from backhaul.wire.frames import encode
from backhaul.wire.signals import Signal
from backhaul.wire.transports import Transport

from .channel import CLOSED_BY_CLIENT, ControlChannel


class RawSessionOwner(Protocol):
    """The sessions of the gate that admitted the client."""

    def session_lost(self, session: "RawSession", reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, whose control channel is closed."""


class RawSession:
    """Owns the control channel."""

    vouches = False  # tunnel connections are known by their address alone
    keys = None
    instance = b""
    moves = False

    def __init__(self, poller: Poller, connection: Connection, transport: Transport, owner: RawSessionOwner) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._owner = owner
        self._control = ControlChannel(poller, connection.sock, ServerControlDecoder(), self._on_signal, self._lost)
        self._received = connection.received
        self._rtt_asked = 0.0
        self.peer = connection.peer
        self.rtt = 0.0
        """Seconds of a round trip, measured by the handshake."""

    @property
    def connected(self) -> bool:
        """True until the control channel is lost or closed."""
        return not self._control.closed

    @property
    def unanswered(self) -> bool:
        """True if the client's kernel has not acknowledged what was sent, so the client may have left."""
        return self._control.unanswered

    def greet(self, token: bytes) -> None:
        """Answer the handshake and measure the round trip."""
        self._control.send(encode(Signal.CHANNEL, token))
        if self._transport.rtt:
            self._rtt_asked = time.perf_counter()
            self.send(Signal.RTT)

    def start(self) -> None:
        """Begin to read."""
        self._control.start(self._received)

    def send(self, signal: Signal) -> None:
        """Send ``signal`` as one byte."""
        self._control.send(bytes([signal]))

    def check(self, check: Check) -> None:
        """Do nothing: v0.7.2 makes no checks."""

    def ask(self, within: float, told: Callable[[bool], None]) -> None:
        """Give no sign of life: a client of v0.7.2 makes room for another one, as in v0.7.2."""
        del within
        told(False)

    def ping_if_silent(self) -> None:
        """Do nothing: the kernel probes, and no proxies are on the way."""

    def close(self) -> None:
        """Close the control channel."""
        self._control.close()

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.RTT and self._rtt_asked:
            self.rtt = time.perf_counter() - self._rtt_asked
            self._rtt_asked = 0.0
        elif signal == Signal.CLOSED:
            self.close()
            self._owner.session_lost(self, CLOSED_BY_CLIENT, goodbye=True)

    def _lost(self, reason: str) -> None:
        self._owner.session_lost(self, reason)
