"""The reports of a session to the transport that owns it."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backhaul.relay.fit import Fit
    from backhaul.wire.peer import Peer

    from .link import Link
    from .sink import TunnelStream


class LinkOwner(Hashable, Protocol):
    """The transport that decides about the streams of a link."""

    def stream_opened(self, link: "Link", stream: "TunnelStream") -> None:
        """Take a stream that the peer has opened; set its sink."""

    def stream_closed(self, link: "Link") -> None:
        """Learn that a stream of this link is closed."""

    def load_changed(self, link: "Link") -> None:
        """Learn that the number of streams, ``stalled`` or ``proven`` has changed."""

    @property
    def fit(self) -> "Fit":
        """The evidence of whether the other end runs the same transport."""

    def link_lost(self, link: "Link", why: str) -> None:
        """Learn that the connection is closed, and that every stream on it is lost."""

    def link_ended(self, peer: "Peer", identity: bytes) -> None:
        """Learn that this end alone ends a session that could be resumed; ``peer`` may not notice."""

    def link_parked(self, link: "Link") -> None:
        """Learn that the session has lost its connection, and waits for another one."""

    def not_smux(self, link: "Link", data: bytes) -> None:
        """Take the socket back: its first bytes, ``data``, begin a handshake. The link is closed."""
