"""A client whose server is played by the test, as v0.7.2 or protected."""

from dataclasses import dataclass

from backhaul.client import Client

from .net import Listener, Peer
from .protected import Control, ProtectedServer
from .tunnel import Net
from .v072 import HANDSHAKE, RTT, accept_control


@dataclass
class Behind:
    """The end behind the firewall."""

    net: Net
    client: Client
    listener: Listener

    async def control(self) -> Peer:
        """Accept the next control channel as v0.7.2."""
        control = await self.listener.accept()
        await accept_control(control)
        return control

    async def protected(self, server: ProtectedServer) -> Control:
        """Accept the next control channel as a server with extensions."""
        return await server.accept(await self.listener.accept())

    async def carriers(self, count: int) -> list[Peer]:
        """Accept tunnel connections."""
        return [await self.listener.accept() for _ in range(count)]

    async def handshake_with(self, answer: bytes) -> Peer:
        """Accept a control channel, and answer its handshake with something."""
        control = await self.listener.accept()
        assert await control.receive(len(HANDSHAKE)) == HANDSHAKE
        await control.send(answer)
        return control


GOOD_ANSWER = HANDSHAKE + RTT
