"""The client's control channel, as a door uses it: sealed, or as v0.7.2 knows it."""

from typing import TYPE_CHECKING, Final, Protocol

from backhaul.wire.checks import Health
from backhaul.wire.peer import V072, Peer
from backhaul.wire.signals import Signal

if TYPE_CHECKING:
    from backhaul.security.session import Admission, SessionKeys


class Line(Protocol):
    """A control channel; owns its connection."""

    @property
    def server(self) -> Peer:
        """The server, with its features."""

    @property
    def keys(self) -> "SessionKeys | None":
        """The keys of a protected session; None if the server is v0.7.2."""

    @property
    def can_ask(self) -> bool:
        """True if this server answers when it is asked for a sign of life."""

    def start(self, rest: bytes = b"") -> None:
        """Begin to read; ``rest`` holds the bytes after the handshake."""

    def admission(self, *, resumes: bool) -> "Admission | None":
        """Return the proof for another tunnel connection; None if the server is v0.7.2."""

    def send(self, signal: Signal) -> None:
        """Send ``signal``."""

    def refuse(self, target: str, reason: str) -> None:
        """Tell a server with extensions why a target is not dialled."""

    def report(self, health: Health) -> None:
        """Tell a server with extensions the outcome of a health check."""

    def tell_ended(self, identity: bytes) -> None:
        """Tell a server with extensions that this end has ended a session."""

    def probe(self) -> None:
        """Ask the server for a sign of life, if it can be asked."""

    def ping_if_silent(self) -> None:
        """Keep proxies from closing a silent channel."""

    def close(self) -> None:
        """Close the channel."""


class _NoLine:
    """The control channel of a client that is not connected."""

    server = V072
    keys = None
    can_ask = False

    def start(self, rest: bytes = b"") -> None:
        """Do nothing."""

    def admission(self, *, resumes: bool) -> None:
        """Return None."""

    def send(self, signal: Signal) -> None:
        """Do nothing."""

    def refuse(self, target: str, reason: str) -> None:
        """Do nothing."""

    def report(self, health: Health) -> None:
        """Do nothing."""

    def tell_ended(self, identity: bytes) -> None:
        """Do nothing."""

    def probe(self) -> None:
        """Do nothing."""

    def ping_if_silent(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


NO_LINE: Final[Line] = _NoLine()
