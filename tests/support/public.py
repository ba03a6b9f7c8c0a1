"""A server whose client is played by the test."""

from dataclasses import dataclass

from backhaul.server import Server

from .net import Peer
from .tunnel import Net
from .v072 import dial_control, header

TARGET = "192.0.2.1:80"  # never dialled, because the test is the client


@dataclass
class Public:
    """The server, and connections of its client and users."""

    net: Net
    server: Server
    port: int  # of the tunnel
    user_port: int

    async def client(self, source: str = "") -> Peer:
        """Open a control channel as v0.7.2 does."""
        return await dial_control(self.net, self.port, source)

    async def tunnel_connection(self, source: str = "") -> Peer:
        """Open another connection to the tunnel's port."""
        return await self.net.dial(self.port, source=source)

    async def user(self) -> Peer:
        """Connect to the user's port."""
        return await self.net.dial(self.user_port)

    async def addressed(self, carrier: Peer) -> Peer:
        """Wait for the announcement on ``carrier``; return the target."""
        announcement = header(TARGET)
        assert await carrier.receive(len(announcement)) == announcement
        return carrier
