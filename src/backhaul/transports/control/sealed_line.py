"""The client's end of a sealed control channel."""

import secrets
import socket
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from backhaul.net.poller import Poller
from backhaul.security.session import NONCE_SIZE, Admission, Admissions, SessionKeys
from backhaul.wire.checks import Check, Health, encode_health, read_check
from backhaul.wire.messages import Message, encode_refusal, read_request
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

from .channel import ControlChannel
from .sealed import Codec, RecordCodec, WebSocketCodec, padding


class Terms(NamedTuple):
    """The result of a handshake."""

    server: Peer
    keys: SessionKeys
    admissions: Admissions


class SealedLine:
    """Owns the control channel; admits tunnel connections."""

    can_ask = True

    def __init__(
        self,
        poller: Poller,
        sock: socket.socket,
        terms: Terms,
        on_signal: Callable[[Signal, int], None],
        lost: Callable[[str], None],
        *,
        on_check: Callable[[Check], None],
        http: bool,
    ) -> None:
        self.server = terms.server
        self.keys: SessionKeys | None = terms.keys
        self._admissions = terms.admissions
        self._report = on_signal
        self._on_check = on_check
        seals = terms.keys.control()
        self._codec: Codec = WebSocketCodec(seals, self._reply, from_client=False) if http else RecordCodec(seals)
        self._control = ControlChannel(poller, sock, self._codec, self._on_message, lost)

    def start(self, rest: bytes = b"") -> None:
        """Confirm the handshake, and begin to read; ``rest`` holds the bytes after it."""
        self.probe()
        self._control.start(rest)

    def admission(self, *, resumes: bool) -> Admission:
        """Return the proof for another tunnel connection, and its seals."""
        return self._admissions.next(secrets.token_bytes(NONCE_SIZE), resumes=resumes)

    def send(self, signal: Signal) -> None:
        """Send ``signal``."""
        if not self._control.closed:
            self._control.send(self._codec.encode(signal))

    def refuse(self, target: str, reason: str) -> None:
        """Tell the server why a target is not dialled."""
        if not self._control.closed:
            self._control.send(self._codec.encode(Signal.REFUSED, encode_refusal(target, reason, padding())))

    def report(self, health: Health) -> None:
        """Tell the server the outcome of a health check."""
        if not self._control.closed:
            self._control.send(self._codec.encode(Signal.HEALTH, encode_health(replace(health, padding=padding()))))

    def tell_ended(self, identity: bytes) -> None:
        """Tell the server that this end has ended a session."""
        if not self._control.closed:
            self._control.send(self._codec.encode(Signal.ENDED, identity + padding()))

    def probe(self) -> None:
        """Ask the server for a sign of life."""
        self.send(Signal.PROBE)

    def ping_if_silent(self) -> None:
        """Ask a silent server for an answer, so that proxies in between see traffic."""
        if self._control.fell_silent():
            self.probe()

    def close(self) -> None:
        """Close the control channel."""
        self._control.close()

    def _reply(self, data: bytes) -> None:
        self._control.send(data)

    def _on_message(self, message: Message) -> None:
        signal = message.signal
        if signal == Signal.HEARTBEAT:
            self.send(Signal.HEARTBEAT)
        elif signal == Signal.PROBE:
            self.send(Signal.ANSWER)
        elif signal == Signal.CHECK:
            self._on_check(read_check(message.body))
        self._report(signal, read_request(message.body) if signal == Signal.CHANNEL else 1)
