"""The remedy in the log line of a session whose peer has sent invalid bytes."""

import pytest
from tests.support.mux import IdleOwner
from tests.support.net import until
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.wire.peer import V072, Peer
from backhaul.wire.smux import Role, Settings

ALTERED = "something between both ends alters their bytes"
MISMATCHED = "both ends need the same transport and mux_version"


@pytest.mark.parametrize(("peer", "remedy"), [(EXTENDED, ALTERED), (V072, MISMATCHED)])
async def test_a_handshake_has_compared_what_v072_may_have_set_differently(
    net: Net, peer: Peer, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    poller = make_poller()
    relay = Relay(poller)
    near, far = await net.pair()
    link = Link(relay, near.sock, Role.SERVER, Settings(), IdleOwner(), peer=peer)
    link.start()
    await far.send(b"no frames of smux")
    await until(lambda: link.closed)
    assert f"; {remedy}" in caplog.text
    relay.close()
    poller.close()
