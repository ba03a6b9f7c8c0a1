"""What a session tells the transport that it belongs to."""

from typing import TYPE_CHECKING, Protocol

from backhaul.relay.fit import Fit

from .sink import TunnelStream

if TYPE_CHECKING:
    from .link import Link


class LinkOwner(Protocol):
    """Who decides what the streams of a link are for."""

    def stream_opened(self, link: "Link", stream: TunnelStream) -> None:
        """The peer has opened a stream; its sink must be set."""

    def stream_closed(self, link: "Link") -> None:
        """A stream of this link is gone."""

    def recognised(self, link: "Link") -> None:
        """The other end has turned out to be one of ours."""

    def load_changed(self, link: "Link") -> None:
        """The link has another number of streams than when this was called last, or is `stalled`, or `proven`."""

    @property
    def fit(self) -> Fit:
        """Takes what becomes known of the other end's tunnel connections."""

    def link_lost(self, link: "Link", why: str) -> None:
        """The connection or the session is gone, and every stream on it."""

    def not_smux(self, link: "Link", data: bytes) -> None:
        """The first bytes are a handshake; the socket is the owner's again, the link is dead."""
