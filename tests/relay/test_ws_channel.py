"""A WebSocket connection as a channel, at its end."""

import pytest
from tests.support.net import until
from tests.support.tunnel import Net
from tests.support.web import CLOSE, PING, frame, receive_frame

from backhaul.relay.direction import Meter
from backhaul.relay.framed import FramedRelay
from backhaul.relay.pair import Relay, Traffic
from backhaul.relay.poller import make_poller, pending
from backhaul.relay.ws_channel import WsChannel
from backhaul.wire.websocket import FrameParser, MessageReader

pytestmark = pytest.mark.both_loops


async def test_what_follows_a_goodbye_unread_does_not_make_the_end_a_reset(net: Net) -> None:
    poller = make_poller()
    relay = Relay(poller)
    (peer, conn), (_, user) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = WsChannel(relay, conn.sock, parser, masked=False, ours=False)
    joined = FramedRelay(channel, user.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    joined._backlog = bytearray(b"what the user does not take")
    channel.start(joined)
    await peer.send(frame(CLOSE, b"\x03\xe8", masked=True))
    assert await receive_frame(peer) == (CLOSE, b"\x03\xe8")
    await peer.send(frame(PING, b"late", masked=True))
    await until(lambda: pending(conn.sock))
    joined.close()
    assert await peer.closed(), "reset"
    poller.close()
