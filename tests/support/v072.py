"""The two ends of v0.7.2 on transport tcp, as far as tests play them."""

from backhaul.wire.frames import encode
from backhaul.wire.signals import Signal

from .net import Peer
from .tunnel import TOKEN, Net

HANDSHAKE = encode(Signal.CHANNEL, TOKEN.encode())
RTT = bytes([Signal.RTT])


async def dial_control(net: Net, port: int, source: str = "") -> Peer:
    """Open a control channel as the v0.7.2 client does."""
    control = await net.dial(port, source=source)
    await control.send(HANDSHAKE)
    assert await control.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
    await control.send(RTT)
    return control


async def accept_control(listener_peer: Peer) -> None:
    """Answer a handshake as the v0.7.2 server does."""
    assert await listener_peer.receive(len(HANDSHAKE)) == HANDSHAKE
    await listener_peer.send(HANDSHAKE + RTT)
    assert await listener_peer.receive(1) == RTT


def header(target: object) -> bytes:
    """Return the announcement of a target on a tunnel connection."""
    return encode(Signal.TCP, str(target).encode())
