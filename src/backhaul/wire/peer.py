"""The other end of a connection, and the abilities that it has beyond v0.7.2."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Feature(IntEnum):
    """An ability that v0.7.2 lacks; docs/protocol.md describes what each changes on the wire.

    Handshakes carry the numbers; none is ever reused for another ability. A set finds numbers without a call of Python,
    and each user takes several looks.
    """

    HALF_CLOSE = 1
    """Keep one direction open when the other ends; v0.7.2 ends both."""
    RESET = 2
    """Pass on the reset of a user or a target."""
    DATAGRAMS = 3
    """Carry UDP flows on every transport, with datagrams of any size."""
    LARGE_MESSAGES = 4
    """Accept WebSocket messages of any size; v0.7.2 pauses when one does not fit into its target's buffer."""
    WHOLE_FRAMES = 5
    """Send a frame in one piece; v0.7.2 waits for an acknowledgement between header and payload."""
    WHOLE_WINDOW = 6
    """Report consumed bytes of a stream soon; v0.7.2 does so only at the first end of a frame beyond half a window."""
    PINGS = 7
    """Keep idle tunnel connections alive by pings of the server."""
    SURPLUS = 8
    """Request sessions when all are full, and close those that are not needed or have lost their control channel."""
    RESUME = 9
    """Acknowledge the bytes of a session, and resume it on another connection when one is lost."""


NO_FEATURES: Final[frozenset[Feature]] = frozenset()
EXTENSIONS: Final = frozenset(Feature)
"""The features of this program."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of the tunnel."""

    address: str = ""
    """Its IP address, ``(local)`` for a Unix socket; empty if unknown."""
    name: str = ""
    """The name of a client in the server's configuration; empty for the unnamed one, and for a server."""
    features: frozenset[Feature] = NO_FEATURES
    instance: bytes = b""
    """Its process, by a random number; empty if unknown."""

    def __str__(self) -> str:
        """Return the name and the address, or the address of a peer without a name."""
        return f"{self.name} at {self.address}" if self.name else self.address

    def supports(self, feature: Feature) -> bool:
        """Return whether the peer has this ability."""
        return feature in self.features

    @property
    def extended(self) -> bool:
        """True if the peer runs this program; v0.7.2 has no feature."""
        return bool(self.features)


def common_features(numbers: Iterable[int]) -> frozenset[Feature]:
    """Return the features among ``numbers``, those of another end, that this version knows."""
    return frozenset(Feature(number) for number in numbers if number in EXTENSIONS)


V072: Final = Peer()
"""A peer without features, about which nothing else is known."""
