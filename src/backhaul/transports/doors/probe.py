"""A handshake that only asks whether a client fits, and leaves the client's session alone."""

import secrets

import msgspec

from backhaul.security.hello import ServerHello, decode
from backhaul.transports.auth import Protection
from backhaul.transports.settings import ClientSettings
from backhaul.wire.transports import Transport

from .door import MAX_PADDING, RefusedError
from .handshake import Seen, client_hello, first_message, initiator, loggable


class Probe:
    """One probe: its message, and the content of the answer."""

    def __init__(
        self,
        token: bytes,
        transport: Transport,
        seen: Seen,
        *,
        protection: Protection,
        padding: int,
        delay: float,
    ) -> None:
        """Ask as a client with these settings.

        ``padding`` bytes enlarge question and answer, which comes after ``delay`` seconds of silence.
        """
        self._initiator = initiator(token, transport)
        hello = client_hello(protection, transport, seen)
        asking = msgspec.structs.replace(hello, probe=True, padding=bytes(padding), delay=delay)
        self.message = first_message(token, self._initiator, asking)
        """The first message of the handshake, to be sent."""

    def finish(self, message: bytes) -> ServerHello:
        """Return the server's hello. Raises HandshakeError unless the server has the token."""
        payload, _ = self._initiator.finish(message)
        return decode(ServerHello, payload)


def check(probe: Probe, message: bytes) -> None:
    """Raise HandshakeError unless the server has the token, and RefusedError if this client does not fit."""
    if refusal := probe.finish(message).refusal:
        raise RefusedError(loggable(refusal))


def probe_of(settings: ClientSettings, transport: Transport, seen: Seen) -> Probe:
    """Return a plain probe of a client with these settings."""
    return Probe(
        settings.tokens.current,
        transport,
        seen,
        protection=settings.protection,
        padding=secrets.randbelow(MAX_PADDING),
        delay=0,
    )
