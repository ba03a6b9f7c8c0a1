"""The datagrams that wait in the kernel, where they can't be dropped, on a connection that does not keep up."""

import fcntl
import socket
import struct
from collections.abc import Callable

import pytest
from tests.support.net import Peer
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.net.udp import Counters, QueueRoom
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.datagrams_over_tcp import DatagramStream
from backhaul.relay.engine import Relay
from backhaul.relay.flows import DEFAULT_ROOM
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.websocket_codec import WebSocketCodec
from backhaul.wire.datagrams import Batch, Splitter, join
from backhaul.wire.websocket import FrameParser, MessageReader

SIOCOUTQNSD = 0x894B  # bytes not sent (linux/sockios.h)
FEW, MANY = 1 << 16, 1 << 22
Send = Callable[[Batch], None]


def stream(poller: Poller, near: Peer) -> Send:
    """Return a flow in a connection of its own."""
    flow = DatagramStream(
        poller, near.sock, join, Splitter(stamped=False), Counters(), room=QueueRoom(DEFAULT_ROOM).of("client")
    )
    flow.start(lambda _batch: None, lambda: None)
    return flow.send


def messages(poller: Poller, near: Peer) -> Send:
    """Return a flow in the messages of a WebSocket connection."""
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(Relay(poller), near.sock, WebSocketCodec(parser, EXTENDED, masked=False))
    channel.expect_datagrams()
    flow = DatagramChannel(channel, Counters(), QueueRoom(DEFAULT_ROOM).of("client"))
    flow.start(lambda _batch: None, lambda: None)
    channel.start(flow)
    return flow.send


@pytest.mark.parametrize("flow", [stream, messages])
async def test_few_datagrams_wait_in_the_kernel(net: Net, flow: Callable[[Poller, Peer], Send]) -> None:
    poller = make_poller()
    _, near = await net.pair()
    near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MANY)
    send = flow(poller, near)
    for _ in range(MANY // 1000):
        send([bytes(1000)] * 4)
    unsent = struct.unpack("i", fcntl.ioctl(near.sock, SIOCOUTQNSD, bytes(4)))[0]
    poller.close()
    assert 0 < unsent <= FEW
