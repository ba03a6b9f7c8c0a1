"""The table of transports, with the facts about each that other modules need."""

from dataclasses import dataclass
from typing import Final, Literal

TransportName = Literal["tcp", "tcpmux", "udp", "ws", "wss", "wsmux", "wssmux"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """The facts about one transport."""

    name: TransportName
    carrier: str
    """The carrier of users on its tunnel connections, with or without TLS: ends with the same carrier fit."""
    http: bool = False
    """True if connections begin with an HTTP upgrade; otherwise they are raw."""
    tls: bool = False
    twin: str = ""
    """The transport that differs in TLS alone; empty if there is none."""
    mux: bool = False
    """True if users share smux sessions."""
    datagrams: bool = False
    """True if its users are sources of UDP datagrams; otherwise they are TCP connections."""
    rtt: bool = False
    """True if a server of v0.7.2 begins a raw control channel with the RTT signal."""
    proxied_by_v072: bool = False
    """True if ``proxy_protocol = true`` has an effect in v0.7.2, and so here."""

    @property
    def default_port(self) -> int:
        """The port that URLs of such HTTP leave out (RFC 9110, section 4.2)."""
        return 443 if self.tls else 80


TRANSPORTS: Final[dict[str, Transport]] = {
    transport.name: transport
    for transport in (
        Transport(name="tcp", carrier="tcp", rtt=True, proxied_by_v072=True),
        Transport(name="tcpmux", carrier="tcpmux", mux=True, proxied_by_v072=True),
        Transport(name="udp", carrier="udp", datagrams=True, rtt=True),
        Transport(name="ws", carrier="ws", http=True, twin="wss"),
        Transport(name="wss", carrier="ws", http=True, tls=True, twin="ws"),
        Transport(name="wsmux", carrier="wsmux", http=True, twin="wssmux", mux=True, proxied_by_v072=True),
        Transport(name="wssmux", carrier="wsmux", http=True, tls=True, twin="wsmux", mux=True, proxied_by_v072=True),
    )
}
