"""The reset of a stream by a peer with extensions."""

import pytest
from tests.support.mux import IdleOwner
from tests.support.net import until
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.sink import NOBODY
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import FIN, RST, pack_frame

pytestmark = pytest.mark.both_loops


async def test_a_reset_of_a_stream_whose_user_has_left_costs_no_other_stream(net: Net) -> None:
    poller = make_poller()
    relay = Relay(poller)
    near, far = await net.pair()
    link = Link(relay, near.sock, Role.CLIENT, Settings(), IdleOwner(), peer=EXTENDED)
    link.start()
    left, other = link.session.open(), link.session.open()
    other.sink = NOBODY
    SmuxChannel(link, left).drop(reset=False)
    await far.send(pack_frame(1, RST, left.id) + pack_frame(1, FIN, left.id))
    await until(lambda: len(link) < 2)
    assert link.session.get(other.id) is other
    assert not link.closed
    link.end("the test is over")
    relay.close()
    poller.close()
