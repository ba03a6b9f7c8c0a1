"""Tools for tests of single sessions."""

from tests.support import net

from backhaul.client import Client
from backhaul.mux.link import Link
from backhaul.mux.sink import TunnelStream
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.relay.engine import Relay
from backhaul.relay.framed import FramedRelay
from backhaul.relay.traffic import Meter, Traffic
from backhaul.server import Server
from backhaul.wire.peer import Peer


class Indifferent:
    """Accepts all evidence of a mismatch."""

    def mismatched(self, what: str) -> None: ...
    def seen(self) -> None: ...
    def proved(self) -> None: ...
    def ceased(self) -> None: ...


class IdleOwner:
    """The owner of a link, which ignores all events."""

    fit = Indifferent()

    def stream_opened(self, link: Link, stream: TunnelStream) -> None: ...
    def stream_closed(self, link: Link) -> None: ...
    def load_changed(self, link: Link) -> None: ...
    def link_lost(self, link: Link, why: str) -> None: ...
    def link_ended(self, peer: Peer, identity: bytes) -> None: ...
    def link_parked(self, link: Link) -> None: ...
    def not_smux(self, link: Link, data: bytes) -> None: ...


def join_user(relay: Relay, link: Link, near: net.Peer) -> int:
    """Join the near end of a user's connection with a new stream of ``link``, and return the stream's number."""
    stream = link.session.open()
    channel = SmuxChannel(link, stream)
    joined = FramedRelay(relay, channel, near.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.attach(joined)
    joined.start()
    return stream.id


def links_of(end: Server | Client) -> list[Link]:
    """Return the sessions of an end as links, of which its relay knows a part."""
    return links_on(end.relay)


def links_on(relay: Relay) -> list[Link]:
    """Return the sessions of a relay as links."""
    links = [link for link in relay.links if isinstance(link, Link)]
    assert len(links) == len(relay.links)
    return links
