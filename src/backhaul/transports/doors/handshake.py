"""The client's half of the handshake between two ends of this program."""

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from backhaul.net.cpu import has_aes
from backhaul.net.poller import Poller
from backhaul.security.hello import MAX_PADDING, PROLOGUES, VERSION, ClientHello, ServerHello, decode, encode
from backhaul.security.hint import with_hint
from backhaul.security.noise import KEY_SIZE, HandshakeError, Initiator, Keys, Shared
from backhaul.security.psk import pre_shared_key
from backhaul.security.session import Admissions, SessionKeys, Side
from backhaul.transports.auth import Protection
from backhaul.transports.control.sealed_line import SealedLine, Terms
from backhaul.transports.settings import ClientSettings
from backhaul.wire.checks import Check
from backhaul.wire.peer import EXTENSIONS, Peer, common_features
from backhaul.wire.signals import Signal
from backhaul.wire.transports import Transport

from .door import RefusedError


@dataclass(frozen=True, slots=True)
class Seen:
    """The server's TLS, as a client sees it."""

    certificate: bytes = b""
    """The SHA-256 of the server's certificate; empty without TLS."""
    verified: bool = False
    """True if an authority vouches for it, or the client knows it."""


class Handshake:
    """One handshake: its first message, and the channel that its second one opens."""

    def __init__(self, settings: ClientSettings, transport: Transport, seen: Seen) -> None:
        self._transport = transport
        self._initiator = initiator(settings.tokens.current, transport)
        hello = msgspec.structs.replace(
            client_hello(settings.protection, transport, seen),
            features=tuple(sorted(settings.features)),
            instance=settings.instance,
        )
        self.message = first_message(settings.tokens.current, self._initiator, hello)
        """The first message, to be sent."""

    def finish(self, message: bytes) -> "Agreement":
        """Return the terms that both ends agree on. Raises HandshakeError, or RefusedError with the server's reason."""
        payload, keys = self._initiator.finish(message)
        try:
            hello = decode(ServerHello, payload)
        except HandshakeError:  # the server has the token, so it is not one of v0.7.2
            raise RefusedError("the server's hello can't be read; run the same version on both ends") from None
        if hello.refusal:
            raise RefusedError(f"refused by the server: {loggable(hello.refusal)}", hello.instance)
        return Agreement(keys, hello, http=self._transport.http)


class Agreement:
    """The result of a handshake on the client."""

    def __init__(self, keys: Keys, hello: ServerHello, *, http: bool) -> None:
        if len(hello.locator) != KEY_SIZE:
            raise RefusedError("the server's hello lacks a locator; run the same version on both ends")
        session = SessionKeys(keys.master, Side.CLIENT, hello.cipher, payload=hello.encryption)
        admissions = Admissions(session, hello.session, hello.locator)
        self.terms = Terms(_server(hello), session, admissions)
        self._http = http
        self.warning = loggable(hello.warning)
        """A line about a fault to correct; otherwise empty."""

    def line(
        self,
        poller: Poller,
        sock: socket.socket,
        on_signal: Callable[[Signal, int], None],
        lost: Callable[[str], None],
        *,
        on_check: Callable[[Check], None],
    ) -> SealedLine:
        """Return the control channel on this connection, which it owns."""
        return SealedLine(poller, sock, self.terms, on_signal, lost, on_check=on_check, http=self._http)


def _server(hello: ServerHello) -> Peer:
    return Peer(features=common_features(hello.features), instance=hello.instance)


def initiator(token: bytes, transport: Transport) -> Initiator:
    """Return the client's half of a handshake."""
    shared = Shared.mix(pre_shared_key(token), PROLOGUES[transport.http])
    return Initiator(shared, secrets.token_bytes(KEY_SIZE))


def first_message(token: bytes, begun: Initiator, hello: ClientHello) -> bytes:
    """Return the first message of a handshake, with its hint."""
    return with_hint(pre_shared_key(token), begun.begin(encode(hello)))


def client_hello(protection: Protection, transport: Transport, seen: Seen) -> ClientHello:
    """Return the hello of a client with these settings."""
    return ClientHello(
        transport=transport.name,
        version=VERSION,
        features=tuple(sorted(EXTENSIONS)),
        encryption=protection.encryption,
        required=protection.required,
        aes=has_aes(),
        certificate=seen.certificate,
        verified=seen.verified,
        padding=bytes(secrets.randbelow(MAX_PADDING + 1)),
    )


def loggable(text: str) -> str:
    """Return a text of the server for the log."""
    return text if text.isprintable() else "(unreadable)"
