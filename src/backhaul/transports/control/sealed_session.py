"""A client with extensions after its handshake: control channel, round trip, and the keys of its connections."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from backhaul.net.poller import Poller
from backhaul.security.session import Register, SessionKeys
from backhaul.transports.connection import Connection
from backhaul.wire.checks import Check, Health, encode_check, read_health
from backhaul.wire.messages import MAX_COUNT, Message, Refusal, encode_request, read_ended, read_refusal
from backhaul.wire.signals import Signal

from .answers import AnswerWatch, LifeSign
from .channel import CLOSED_BY_CLIENT, UNANSWERED, ControlChannel
from .sealed import Codec, RecordCodec, WebSocketCodec, padding


class SealedSessionOwner(Protocol):
    """The sessions of the gate that answered the handshake."""

    def session_confirmed(self, session: "SealedSession") -> None:
        """Note that the client has the session's keys: its handshake was no recorded one."""

    def session_lost(self, session: "SealedSession", reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, whose control channel is closed."""

    def target_refused(self, session: "SealedSession", refusal: Refusal) -> None:
        """Report a target that the client does not dial."""

    def health_reported(self, session: "SealedSession", health: Health) -> None:
        """Report the outcome of a health check."""

    def session_ended(self, session: "SealedSession", identity: bytes) -> None:
        """Report a session of the carrier that the client has ended."""


class SealedSession:
    """Owns the control channel. It counts as connected once the client has confirmed the handshake."""

    vouches = True  # each tunnel connection proves possession of the session's keys

    def __init__(
        self,
        poller: Poller,
        connection: Connection,
        keys: SessionKeys,
        register: "Register[SealedSession]",
        owner: SealedSessionOwner,
        *,
        number: int,
        instance: bytes,
        http: bool,
        answer_within: float,
    ) -> None:
        """Enter the session into ``register``, under ``number``, until it is closed.

        A heartbeat must be answered within ``answer_within`` seconds.
        """
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._answers = AnswerWatch(answer_within)
        self._received = connection.received
        self._begun = time.perf_counter()  # when the answer to the handshake was ready
        self._wanted = 0  # connections that the next message asks for
        self.keys: SessionKeys | None = keys
        self._register = register
        self._number = number
        self._life = LifeSign()
        self.instance = instance
        """The bytes by which the client knows its own control channels; empty if it does not say."""
        self.peer = connection.peer
        self.moves = False
        self.confirmed = False
        """True once a message of the client, or the admission of a connection, has proved that it has the keys."""
        seals = keys.control()
        self._codec: Codec = WebSocketCodec(seals, self._reply, from_client=True) if http else RecordCodec(seals)
        self._control = ControlChannel(poller, connection.sock, self._codec, self._on_message, self._end)
        register.enter(number, keys, self)

    @property
    def connected(self) -> bool:
        """True until the control channel is lost or closed."""
        return not self._control.closed

    @property
    def rtt(self) -> float:
        """Seconds of a round trip, measured by the handshake and by each heartbeat."""
        return self._answers.rtt

    def start(self) -> None:
        """Begin to read."""
        self._control.start(self._received)

    def greet(self, answer: bytes) -> None:
        """Send the server's message of the handshake."""
        self._control.send(answer)

    def confirm(self) -> None:
        """Note that the client has proved possession of the keys."""
        if not self.confirmed:
            self.confirmed = True
            self._answers.rtt = time.perf_counter() - self._begun
            self._owner.session_confirmed(self)

    def send(self, signal: Signal) -> None:
        """Send ``signal``; a heartbeat must be answered in time."""
        if self._control.closed:
            return
        if signal == Signal.CHANNEL:
            self._request()
            return
        self._control.send(self._codec.encode(signal))
        if signal == Signal.HEARTBEAT:
            self._answers.asked(self._unanswered)

    def _request(self) -> None:
        """Ask for one more connection; all that are wanted in one turn of the event loop share a message."""
        if not self._wanted:
            self._loop.call_soon(self._ask)
        self._wanted += 1

    def _ask(self) -> None:
        count, self._wanted = min(self._wanted, MAX_COUNT), 0
        if not self._control.closed:
            self._control.send(self._codec.encode(Signal.CHANNEL, encode_request(count, padding())))

    def check(self, check: Check) -> None:
        """Ask for a health check."""
        if not self._control.closed:
            self._control.send(self._codec.encode(Signal.CHECK, encode_check(replace(check, padding=padding()))))

    def ask(self, within: float, told: Callable[[bool], None]) -> None:
        """Ask for a sign of life; ``told`` gets False unless the client gives it within so many seconds."""
        if not self._life.asked:
            self.send(Signal.PROBE)
        self._life.ask(within, told)

    def ping_if_silent(self) -> None:
        """Ask a silent client for an answer: the interval of the heartbeat may be longer than a proxy's patience."""
        if self._control.fell_silent():
            self.send(Signal.PROBE)

    def close(self) -> None:
        """Close the control channel."""
        self._answers.stop()
        self._life.answer(False)
        self._register.forget(self._number)
        self._control.close()

    def _reply(self, data: bytes) -> None:
        self._control.send(data)

    def _on_message(self, message: Message) -> None:
        self.confirm()
        if message.signal == Signal.HEARTBEAT:
            self._answers.answered()
        elif message.signal == Signal.ANSWER:
            self._life.answer(True)
        elif message.signal == Signal.PROBE:
            self.send(Signal.ANSWER)
        elif message.signal == Signal.REFUSED:
            self._owner.target_refused(self, read_refusal(message.body))
        elif message.signal == Signal.HEALTH:
            self._owner.health_reported(self, read_health(message.body))
        elif message.signal == Signal.ENDED:
            self._owner.session_ended(self, read_ended(message.body))
        elif message.signal in {Signal.CLOSED, Signal.MOVED}:
            self.moves = message.signal == Signal.MOVED
            self._end(CLOSED_BY_CLIENT, goodbye=True)

    def _unanswered(self) -> None:
        self._end(UNANSWERED)

    def _end(self, reason: str, *, goodbye: bool = False) -> None:
        self.close()
        self._owner.session_lost(self, reason, goodbye=goodbye)
