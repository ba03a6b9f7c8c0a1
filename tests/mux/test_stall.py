"""The detector of stalls: from reports about reading and sending to its verdict."""

from dataclasses import replace

import pytest
from tests.support.tunnel import Net

from backhaul.mux.stall import StallDetector
from backhaul.net.poller import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience

AT_ONCE = -1.0  # seconds; the clock may not advance


@pytest.mark.parametrize(("unread", "unsent"), [(AT_ONCE, 60.0), (60.0, AT_ONCE)])
async def test_a_session_moves_again_when_both_directions_do(net: Net, unread: float, unsent: float) -> None:
    poller = make_poller()
    relay = Relay(poller, patience=replace(Patience(), unread=unread, unsent=unsent))
    conn, _ = await net.pair()
    changes: list[bool] = []
    detector = StallDetector(relay, conn.sock, (), lambda: changes.append(detector.stalled))
    assert not detector.detect()
    detector.reading_stops()
    detector.sending_waits()
    assert [detector.detect() for _ in range(2)] == [True, False]
    detector.reading_goes_on()
    detector.moves()
    assert detector.stalled
    detector.sending_goes_on()
    assert changes == [True, False]
    relay.close()
    poller.close()
