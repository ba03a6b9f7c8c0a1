"""The events that a link reports to the transport that it belongs to."""

from typing import TYPE_CHECKING, Protocol

from backhaul.relay.fit import Fit

from .sink import TunnelStream

if TYPE_CHECKING:
    from .link import Link


class LinkOwner(Protocol):
    """The transport that decides about the streams of a link."""

    def stream_opened(self, link: "Link", stream: TunnelStream) -> None:
        """Take a stream that the peer has opened; set its sink."""

    def stream_closed(self, link: "Link") -> None:
        """Learn that a stream of this link is closed."""

    def recognised(self, link: "Link") -> None:
        """Learn that the other end runs this program."""

    def load_changed(self, link: "Link") -> None:
        """Learn that the number of streams, ``stalled`` or ``proven`` has changed."""

    @property
    def fit(self) -> Fit:
        """The evidence of whether the other end runs the same transport."""

    def link_lost(self, link: "Link", why: str) -> None:
        """Learn that the connection is closed, and that every stream on it is lost."""

    def not_smux(self, link: "Link", data: bytes) -> None:
        """Take the socket back: its first bytes, ``data``, begin a handshake. The link is closed."""
