"""A client of tcp, tcpmux or udp after its handshake: control channel, round trip, and the ticket."""

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from backhaul.net.poller import Poller
from backhaul.transports.connection import Connection
from backhaul.wire.control import ServerControlDecoder, hello_answer
from backhaul.wire.frames import HEAD_SIZE, encode
from backhaul.wire.signals import TICKET_SIZE, Signal
from backhaul.wire.transports import Transport

from .channel import CLOSED_BY_CLIENT, ControlChannel

if TYPE_CHECKING:
    from backhaul.security.session import SessionKeys  # loads cryptography


class RawSessionOwner(Protocol):
    """The gate that admitted the client."""

    def session_recognised(self, session: "RawSession") -> None:
        """Require tickets from now on, because the client has extensions."""

    def session_is_v072(self, session: "RawSession") -> None:
        """Admit connections by their address, because no hello has arrived in time."""

    def session_mismatched(self, theirs: str) -> None:
        """Note that the client runs another transport."""

    def session_lost(self, session: "RawSession", reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, whose control channel is closed."""


class RawSession:
    """Owns the control channel."""

    keys: "SessionKeys | None" = None
    """The keys of a protected session; None for a client of v0.7.2."""

    def __init__(
        self, poller: Poller, connection: Connection, transport: Transport, owner: RawSessionOwner, *, grace: float
    ) -> None:
        """``grace`` is the time in seconds within which a hello follows the answer to the RTT signal."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._owner = owner
        self._grace = grace
        self._decoder = ServerControlDecoder()
        self._control = ControlChannel(poller, connection.sock, self._decoder, self._on_signal, self._lost)
        self._received = connection.received
        self._rtt_asked = 0.0
        self._deadline: asyncio.TimerHandle | None = None  # of the hello, after the answer to the RTT signal
        self.peer = connection.peer
        self.proof = b""
        """The first bytes of its tunnel connections, which hold the ticket; empty if there is none."""
        self.rtt = 0.0
        """Seconds of a round trip, measured by the handshake."""
        self.undecided = False
        """True while the client may still show that it has extensions."""

    @property
    def connected(self) -> bool:
        """True until the control channel is lost or closed."""
        return not self._control.closed

    @property
    def vouches(self) -> bool:
        """True if tunnel connections show a ticket, which they never do on tcpmux."""
        return bool(self.proof)

    @property
    def ticket(self) -> bytes:
        """The secret by which tunnel connections are admitted; empty for a client of v0.7.2."""
        return self.proof[HEAD_SIZE:]

    @property
    def unanswered(self) -> bool:
        """True if the client's kernel has not acknowledged what was sent, so the client may have left."""
        return self._control.unanswered

    def greet(self, token: bytes) -> None:
        """Answer the handshake and measure the round trip; a client with extensions adds a hello to its answer."""
        self._control.send(encode(Signal.CHANNEL, token))
        if self._transport.rtt:
            self.undecided = True
            self._rtt_asked = self._loop.time()
            self.send(Signal.RTT)

    def start(self) -> None:
        """Begin to read."""
        self._control.start(self._received)

    def send(self, signal: Signal) -> None:
        """Send ``signal`` as one byte."""
        self._control.send(bytes([signal]))

    def close(self) -> None:
        """Close the control channel."""
        self._decide()
        self._control.close()

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.RTT and self._rtt_asked:
            self._answered()
        elif signal == Signal.HELLO:
            self._greeted()
        elif signal == Signal.CLOSED:
            self.close()
            self._owner.session_lost(self, CLOSED_BY_CLIENT, goodbye=True)

    def _answered(self) -> None:
        self.rtt = self._loop.time() - self._rtt_asked
        self._rtt_asked = 0.0
        if self.undecided:
            self._deadline = self._loop.call_later(self._grace, self._take_for_v072)

    def _take_for_v072(self) -> None:
        self._decide()
        self._owner.session_is_v072(self)

    def _greeted(self) -> None:
        if self._decoder.transport == self._transport.name:
            self._recognise()
            self._control.send(hello_answer(self._transport.name, self.ticket))
        else:  # the client learns of the mismatch from the answer and leaves; its ticket admits nothing
            self._control.send(hello_answer(self._transport.name, secrets.token_bytes(TICKET_SIZE)))
            self._owner.session_mismatched(self._decoder.transport or "another transport")

    def _recognise(self) -> None:
        if not self.proof:
            self.proof = encode(Signal.TICKET, secrets.token_bytes(TICKET_SIZE))
            self.peer = self.peer.with_extensions()
            self._decide()
            self._owner.session_recognised(self)

    def _decide(self) -> None:
        """End the time in which the client may still show extensions."""
        self.undecided = False
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _lost(self, reason: str) -> None:
        self._decide()
        self._owner.session_lost(self, reason)
