"""A handshake that only asks whether a client fits, and leaves the client's session alone."""

import msgspec

from backhaul.security.hello import ServerHello, decode
from backhaul.transports.auth import Protection
from backhaul.wire.transports import Transport

from .handshake import Seen, client_hello, first_message, initiator


class Probe:
    """One question: its message, and what the answer holds."""

    def __init__(
        self,
        token: bytes,
        transport: Transport,
        seen: Seen,
        *,
        protection: Protection,
        mux_version: int,
        padding: int,
        delay: float,
    ) -> None:
        """Ask as a client with these settings.

        ``padding`` bytes enlarge question and answer, which comes after ``delay`` seconds of silence.
        """
        self._initiator = initiator(token, transport)
        hello = client_hello(protection, mux_version, transport, seen)
        asking = msgspec.structs.replace(hello, probe=True, padding=bytes(padding), delay=delay)
        self.message = first_message(token, self._initiator, asking)
        """The first message of the handshake, to be sent."""

    def finish(self, message: bytes) -> ServerHello:
        """Return the server's hello. Raises HandshakeError unless the server has the token."""
        payload, _ = self._initiator.finish(message)
        return decode(ServerHello, payload)
