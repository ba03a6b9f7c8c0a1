"""The table of transports, with the facts about each that other modules need."""

from dataclasses import dataclass
from typing import Final, Literal

TransportName = Literal["tcp", "tcpmux", "udp", "ws", "wss", "wsmux", "wssmux"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """The facts about one transport."""

    name: TransportName
    http: bool = False
    """True if connections begin with an HTTP upgrade; otherwise they are raw."""
    tls: bool = False
    mux: bool = False
    """True if users share smux sessions."""
    datagrams: bool = False
    """True if its users are sources of UDP datagrams; otherwise they are TCP connections."""
    rtt: bool = False
    """True if the server begins a raw control channel with the RTT signal, whose answer has room for a hello."""
    hello: int = 0
    """The byte that names it in a hello; a transport with HTTP has none. It is at least 0x80, because v0.7.2 acts on
    smaller ones as signals."""
    mark: str = ""
    """The name of its carriers in the marks of an upgrade, with or without TLS."""
    proxied_by_v072: bool = False
    """True if ``proxy_protocol = true`` has an effect in v0.7.2, and so here."""


TRANSPORTS: Final[dict[str, Transport]] = {
    transport.name: transport
    for transport in (
        Transport(name="tcp", rtt=True, hello=0x80, proxied_by_v072=True),
        Transport(name="tcpmux", mux=True, hello=0x81, proxied_by_v072=True),
        Transport(name="udp", datagrams=True, rtt=True, hello=0x82),
        Transport(name="ws", http=True, mark="ws"),
        Transport(name="wss", http=True, tls=True, mark="ws"),
        Transport(name="wsmux", http=True, mux=True, mark="wsmux", proxied_by_v072=True),
        Transport(name="wssmux", http=True, tls=True, mux=True, mark="wsmux", proxied_by_v072=True),
    )
}


def marked(mark: str, *, tls: bool) -> Transport:
    """Return the transport over HTTP that has this mark, with or without TLS."""
    return next(found for found in TRANSPORTS.values() if (found.mark, found.tls) == (mark, tls))
