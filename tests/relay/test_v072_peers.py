"""The measures for connections with v0.7.2 that peers with extensions do not need."""

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.apart import Namespace, separable
from tests.support.mux import IdleOwner
from tests.support.net import Peer, cuts, until
from tests.support.peers import EXTENDED
from tests.support.stage import running_relay
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.relay.engine import Relay
from backhaul.relay.framed import FramedRelay
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.pair import End, join_sockets
from backhaul.relay.traffic import Meter, Traffic
from backhaul.relay.websocket_codec import WebSocketCodec
from backhaul.wire.peer import V072
from backhaul.wire.peer import Peer as Other
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import HEADER, PSH
from backhaul.wire.websocket import FrameParser, MessageReader, encode

pytestmark = pytest.mark.both_loops
BINARY = 0x2
Join = Callable[..., None]
ROUNDS = 60  # the kernel acknowledges the first bytes of each connection at once
V072_MESSAGE = 16 * 1024  # bytes: its read buffer, and so the largest of its own messages


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with running_relay() as relay:
        yield relay


def join_web(relay: Relay, conn: Peer, user: Peer, other: Other) -> None:
    """Join a client's WebSocket connection with a user's socket."""
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, other, masked=False))
    joined = FramedRelay(relay, channel, user.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.start(joined)
    joined.start()


def join_raw(relay: Relay, conn: Peer, user: Peer, other: Other) -> None:
    """Join a tunnel connection of transport tcp with a user's socket."""
    join_sockets(
        relay, End(user.sock, half_close=True), End(conn.sock, half_close=other.extended), Traffic(Meter(), Meter())
    )


def join_mux(relay: Relay, conn: Peer, user: Peer, other: Other) -> None:
    """Join the first stream of a session with a user's socket."""
    link = Link(relay, conn.sock, Role.CLIENT, Settings(), IdleOwner(), peer=other)
    link.start()
    channel = SmuxChannel(link, link.session.open())
    joined = FramedRelay(relay, channel, user.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.attach(joined)
    joined.start()


SAID = {
    join_raw: b"request",
    join_web: encode(BINARY, b"request", masked=True),
    join_mux: HEADER.pack(1, PSH, 7, Role.CLIENT.value) + b"request",
}


async def receive_message(peer: Peer) -> int:
    """Receive an unmasked message; return its size (RFC 6455, section 5.2)."""
    length = (await peer.receive(2))[1]
    if length == 126:
        (length,) = struct.unpack("!H", await peer.receive(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await peer.receive(8))
    await peer.receive(length)
    return length


@pytest.mark.parametrize("other", [EXTENDED, V072])
async def test_messages_are_no_larger_than_its_own(net: Net, relay: Relay, other: Other) -> None:
    (peer, conn), (user, near) = await net.pair(), await net.pair()
    join_web(relay, conn, near, other)
    left = 1_000_000
    await user.send(bytes(left))
    sizes = []
    while left:
        sizes.append(await receive_message(peer))
        left -= sizes[-1]
    assert (max(sizes) <= V072_MESSAGE) is not other.extended


@pytest.fixture
async def apart() -> AsyncIterator[Namespace]:
    """Keep a network for the test alone, so that the kernel counts only its traffic there."""
    if not separable():
        pytest.skip("needs root and Linux's namespaces")
    with contextlib.closing(Namespace()) as space:
        await until(lambda: space.ready)
        space.run("ip link set lo up")
        yield space


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="not on this system")
@pytest.mark.parametrize("join", SAID)
async def test_its_bytes_are_acknowledged_at_once(net: Net, apart: Namespace, relay: Relay, join: Join) -> None:
    """A peer with Nagle's algorithm, the default, holds the second half of a request until then."""
    with apart.entered():
        (peer, conn), (user, near) = await net.pair(), await net.pair()
    near.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    join(relay, conn, near, V072)
    for _ in range(ROUNDS):
        for piece in cuts(SAID[join], len(SAID[join]) // 2 + 1):
            await peer.send(piece)
        assert await user.receive(7) == b"request"
        await user.send(b"answer")
        await peer.receive_some()
    assert delayed_acknowledgements(apart) < ROUNDS // 2, "without it there are more of them than rounds"


def delayed_acknowledgements(space: Namespace) -> int:
    """Return how many acknowledgements the kernel has sent there after a delay of 40 ms."""
    netstat = Path(f"/proc/{space.pid}/net/netstat").read_text()
    names, values = (line.split() for line in netstat.splitlines() if line.startswith("TcpExt:"))
    return int(values[names.index("DelayedACKs")])
