"""A client of v0.7.2 on ws, wss, wsmux or wssmux after its upgrade: control channel and round trip."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from backhaul.net.poller import Poller
from backhaul.transports.connection import Connection
from backhaul.wire.checks import Check
from backhaul.wire.signals import Signal

from .answers import AnswerWatch
from .channel import CLOSED_BY_CLIENT, UNANSWERED, ControlChannel
from .websocket import PING, WsControlDecoder, encode_signal

if TYPE_CHECKING:
    from backhaul.security.session import SessionKeys  # loads cryptography


class HttpSessionOwner(Protocol):
    """The sessions of the gate that admitted the client."""

    def session_lost(self, session: "HttpSession", reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, whose control channel is closed."""


class HttpSession:
    """Owns the control channel."""

    vouches = True  # each request shows the token
    keys: "SessionKeys | None" = None
    instance = b""
    moves = False

    def __init__(
        self, poller: Poller, connection: Connection, owner: HttpSessionOwner, *, answer_within: float
    ) -> None:
        self._owner = owner
        self._answers = AnswerWatch(answer_within)
        self._received = connection.received
        self.peer = connection.peer
        decoder = WsControlDecoder(self._reply, from_client=True)
        self._control = ControlChannel(poller, connection.sock, decoder, self._on_signal, self._end)

    @property
    def connected(self) -> bool:
        """True until the control channel is lost or closed."""
        return not self._control.closed

    @property
    def rtt(self) -> float:
        """Seconds of a round trip, measured by the last heartbeat."""
        return self._answers.rtt

    def start(self) -> None:
        """Begin to read."""
        self._control.start(self._received)

    def send(self, signal: Signal) -> None:
        """Send ``signal``; a heartbeat must be answered in time."""
        self._control.send(encode_signal(signal, masked=False))
        if signal == Signal.HEARTBEAT:
            self._answers.asked(self._unanswered)

    def check(self, check: Check) -> None:
        """Do nothing: v0.7.2 makes no checks."""

    def ask(self, within: float, told: Callable[[bool], None]) -> None:
        """Give no sign of life: a client of v0.7.2 makes room for another one, as in v0.7.2."""
        del within
        told(False)

    def ping_if_silent(self) -> None:
        """Ping a silent control channel: the interval of the heartbeat may be longer than the patience of a proxy."""
        if self._control.fell_silent():
            self._control.send(PING)

    def close(self) -> None:
        """Close the control channel."""
        self._answers.stop()
        self._control.close()

    def _reply(self, data: bytes) -> None:
        self._control.send(data)

    def _on_signal(self, signal: Signal) -> None:
        if signal == Signal.HEARTBEAT:
            self._answers.answered()
        elif signal == Signal.CLOSED:
            self._end(CLOSED_BY_CLIENT, goodbye=True)

    def _unanswered(self) -> None:
        self._end(UNANSWERED)

    def _end(self, reason: str, *, goodbye: bool = False) -> None:
        self.close()
        self._owner.session_lost(self, reason, goodbye=goodbye)
