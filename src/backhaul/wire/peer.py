"""The other end of a connection, and the abilities that it has beyond v0.7.2."""

from dataclasses import dataclass, replace
from enum import IntEnum, auto
from typing import Final, Self


class Feature(IntEnum):
    """An ability that v0.7.2 does not have; docs/protocol.md describes what each changes on the wire.

    A number, because a set finds numbers without a call of Python, and each user takes several looks.
    """

    HALF_CLOSE = auto()
    """Keep one direction open when the other ends; v0.7.2 ends both."""
    RESET = auto()
    """Pass on the reset of a user or a target."""
    DATAGRAMS = auto()
    """Carry UDP flows on every transport, with datagrams of any size."""
    TICKETS = auto()
    """Admit tunnel connections by a ticket, from any address."""
    LARGE_MESSAGES = auto()
    """Accept WebSocket messages of any size; v0.7.2 pauses when one does not fit into its target's buffer."""
    WHOLE_FRAMES = auto()
    """Send a frame in one piece; v0.7.2 waits for an acknowledgement between header and payload."""
    WHOLE_WINDOW = auto()
    """Report consumed bytes of a stream soon; v0.7.2 does so only at the first end of a frame beyond half a window."""
    PINGS = auto()
    """Keep idle tunnel connections alive by pings of the server."""
    SURPLUS = auto()
    """Request sessions when all are full, and close those that are no longer needed."""


NO_FEATURES: Final[frozenset[Feature]] = frozenset()
EXTENSIONS: Final = frozenset(Feature)
"""The features of this program; until a handshake negotiates them, a peer has all or none."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the tunnel."""

    address: str = ""
    """Its IP address, ``(local)`` for a Unix socket; empty if unknown."""
    name: str = ""
    """The name of a client in the server's configuration; empty for the unnamed one, and for a server."""
    features: frozenset[Feature] = NO_FEATURES

    def supports(self, feature: Feature) -> bool:
        """Return whether the peer has this ability, as far as is known."""
        return feature in self.features

    @property
    def extended(self) -> bool:
        """True if the peer runs this program, as far as is known; v0.7.2 has no feature."""
        return bool(self.features)

    def with_extensions(self) -> Self:
        """Return the same peer, after it has shown that it runs this program."""
        return replace(self, features=EXTENSIONS)


V072: Final = Peer()
"""A peer without features, of which nothing else is known."""
EXTENDED: Final = V072.with_extensions()
"""A peer with all features, of which nothing else is known."""
