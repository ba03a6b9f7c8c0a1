"""A connected client, as carriers and the control plane see it after its admission."""

from typing import TYPE_CHECKING, Final, Protocol

from backhaul.wire.checks import Check
from backhaul.wire.peer import V072, Peer
from backhaul.wire.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from backhaul.security.session import SessionKeys  # loads cryptography


class ClientSession(Protocol):
    """A client that has proved its token, from its control channel's beginning to that channel's end."""

    @property
    def peer(self) -> Peer:
        """The client, with its name in the configuration and its known features."""

    @property
    def connected(self) -> bool:
        """True until the control channel is lost or closed."""

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the client, 0 if not measured."""

    @property
    def vouches(self) -> bool:
        """True if its tunnel connections prove where they come from; otherwise only their address is known."""

    @property
    def keys(self) -> "SessionKeys | None":
        """The keys of a protected session; None for a client of v0.7.2."""

    @property
    def moves(self) -> bool:
        """True if the client has said that it keeps its sessions, although this control channel ends."""

    def send(self, signal: Signal) -> None:
        """Send ``signal`` on the control channel."""

    def check(self, check: Check) -> None:
        """Ask a client with extensions for a health check."""

    def ask(self, within: float, told: "Callable[[bool], None]") -> None:
        """Ask for a sign of life; ``told`` gets False unless the client gives it within so many seconds."""


class _NoClient:
    """The session of a tunnel without a client."""

    peer = V072
    connected = False
    rtt = 0.0
    vouches = False
    keys: "SessionKeys | None" = None
    moves = False

    def send(self, signal: Signal) -> None:
        """Do nothing."""

    def check(self, check: Check) -> None:
        """Do nothing."""

    def ask(self, within: float, told: "Callable[[bool], None]") -> None:
        """Give no sign of life."""
        del within
        told(False)


NO_CLIENT: Final[ClientSession] = _NoClient()

_ROUND_TRIPS: Final = 4  # of the request for a connection, TCP, TLS and the upgrade


def dial_time(session: ClientSession) -> float:
    """Return the seconds for the client to open a requested connection on a line without losses, 0 if unknown."""
    return _ROUND_TRIPS * session.rtt


def protection_of(session: ClientSession) -> str:
    """Return the protection of a session as the end of a log line; nothing for v0.7.2."""
    if not session.keys:
        return ""
    return ", encrypted" if session.keys.payload else ", protected"
