"""The warning of connections that do not last."""

import logging

import pytest
from tests.support.clock import Clock

from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.carriers.breaks import Breaks

WARNING = "tunnel connections do not last"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaks(clock: Clock) -> Breaks:
    return Breaks(LogThrottle(logging.getLogger("backhaul.mux"), clock=clock), clock)


def test_a_session_that_breaks_again_and_again_is_named(
    breaks: Breaks, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for count in range(5):
        assert WARNING not in caplog.text, count
        clock.now += 15.0
        breaks.replaced("session", count, "the last one was silent", in_vain=True)
    assert "the last one was silent" in caplog.text
    for count in range(5, 10):
        assert len(caplog.messages) == 1, count
        clock.now += 15.0
        breaks.replaced("session", count, "the last one was silent", in_vain=True)
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(("sessions", "seconds"), [(1, 15.1), (2, 7.6)], ids=["slowly", "two sessions"])
def test_few_breaks_are_not_worth_a_line(
    breaks: Breaks, clock: Clock, caplog: pytest.LogCaptureFixture, sessions: int, seconds: float
) -> None:
    for count in range(20):
        clock.now += seconds
        breaks.replaced(count % sessions, count, "lost", in_vain=True)
    assert not caplog.text


def test_an_ended_session_is_forgotten(breaks: Breaks, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        breaks.replaced("session", 0, "lost", in_vain=True)
        breaks.forget("session")
    assert not caplog.text


def test_connections_on_which_nothing_passes_are_named_however_seldom(
    breaks: Breaks, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    breaks.replaced("session", 6, "lost", in_vain=True)
    for _ in range(3):
        assert not caplog.text
        clock.now += 100.0
        breaks.replaced("session", 7, "lost", in_vain=True)
    assert "nothing passes on them" in caplog.text


def test_idle_connections_that_are_lost_prove_nothing(breaks: Breaks, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        breaks.replaced("session", 7, "lost", in_vain=False)
    assert not breaks.vain("session", 7)
    assert not caplog.text
