"""The detector of stalls: from reports about reading and sending to its verdict."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import pytest
from tests.support.tunnel import Net

from backhaul.mux.stall import StallDetector
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience
from backhaul.wire.peer import Peer

PEER = Peer("192.0.2.1", "berlin")
AT_ONCE = -1.0  # seconds; the clock may not advance

Change: TypeAlias = Callable[[StallDetector], None]


@pytest.mark.parametrize(("unread", "unsent"), [(AT_ONCE, 60.0), (60.0, AT_ONCE)])
async def test_a_session_moves_again_when_both_directions_do(net: Net, unread: float, unsent: float) -> None:
    poller = make_poller()
    relay = Relay(poller, patience=replace(Patience(), unread=unread, unsent=unsent))
    conn, _ = await net.pair()
    changes: list[bool] = []
    detector = StallDetector(relay, conn.sock, PEER, (), lambda: changes.append(detector.stalled))
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


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock a test moves ahead."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped

    def skip(self, seconds: float) -> None:
        """Move the clock, and call the timers that are due."""
        self.skipped += seconds
        self.run_until_complete(asyncio.sleep(0))


@dataclass
class Watched:
    """A detector with a session of three streams, and the time of a test."""

    time: SkippingLoop
    conn: socket.socket
    loop: asyncio.AbstractEventLoop = field(init=False)
    patience: Patience = field(default_factory=Patience)
    complaints: LogThrottle = field(default_factory=lambda: LogThrottle(logging.getLogger()))
    changes: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = self.time
        self.detector = StallDetector(
            self, self.conn, PEER, range(3), lambda: self.changes.append(self.detector.stalled)
        )


@pytest.fixture
def watched() -> Iterator[Watched]:
    loop = SkippingLoop()
    near, far = socket.socketpair()
    with near, far:
        yield Watched(loop, near)
    loop.close()


@pytest.mark.parametrize(
    ("stops", "goes_on", "patience"),
    [
        (StallDetector.reading_stops, StallDetector.reading_goes_on, Patience().unread),
        (StallDetector.sending_waits, StallDetector.sending_goes_on, Patience().unsent),
    ],
)
def test_a_session_stalls_when_one_direction_has_stopped_for_too_long(
    watched: Watched, stops: Change, goes_on: Change, patience: float
) -> None:
    detector = watched.detector
    stops(detector)
    watched.time.skip(patience / 2)
    assert not detector.detect()
    watched.time.skip(patience)
    assert detector.detect()
    goes_on(detector)
    assert watched.changes == [True, False]


def test_a_session_stalls_when_the_other_kernel_is_silent(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    unanswered = 1
    monkeypatch.setattr("backhaul.mux.stall.retransmissions", lambda _: unanswered)
    assert not watched.detector.detect()
    unanswered = 2
    assert not watched.detector.detect()  # the kernel was asked a moment ago
    watched.time.skip(1.0)
    assert watched.detector.detect()
    watched.detector.moves()
    assert watched.changes == [True, False]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_session_that_is_not_read_for_long_is_worth_a_line(
    watched: Watched, caplog: pytest.LogCaptureFixture, *, goes_on: bool
) -> None:
    watched.detector.reading_stops()
    if goes_on:
        watched.detector.reading_goes_on()
    watched.time.skip(60.0)
    assert ("session with 3 streams, peer berlin at 192.0.2.1: stalled" in caplog.text) is not goes_on


def test_stalls_without_end_do_not_fill_the_log(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        watched.detector.reading_stops()
        watched.time.skip(10.0)
        watched.detector.reading_goes_on()
    assert caplog.text.count("stalled") == 1
