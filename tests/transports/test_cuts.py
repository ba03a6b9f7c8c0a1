"""Warnings of proxies and NATs that close silent connections."""

import logging
from dataclasses import dataclass, field

import pytest
from tests.support.clock import Clock

from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.patience import Patience
from backhaul.transports.carriers.cuts import Cuts

WARNING = "tunnel connections are closed from outside after 8 s of silence"


@dataclass
class Resources:
    """The parts that ``Cuts`` uses."""

    now: Clock = field(default_factory=Clock)
    patience: Patience = field(default_factory=Patience)
    complaints: LogThrottle = field(default_factory=lambda: LogThrottle(logging.getLogger("cuts")))


@pytest.fixture
def resources() -> Resources:
    return Resources()


@pytest.fixture
def cuts(resources: Resources) -> Cuts:
    return Cuts(resources, resources.now)


def end(cuts: Cuts, now: Clock, *silences: float, every: float = 8.0) -> None:
    for silence in silences:
        now.now += every
        cuts.ended(silence)


def test_three_equal_silences(cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture) -> None:
    end(cuts, resources.now, 8.0, 8.3)
    assert WARNING not in caplog.text
    end(cuts, resources.now, 7.9)
    assert f"{WARNING}, and so are users who are silent for as long" in caplog.text
    assert "or set keepalive_period = 3 on both ends" in caplog.text


def test_different_silences_are_chance(cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture) -> None:
    end(cuts, resources.now, 8.0, 12.0, 8.0, 9.0, 30.0, 33.0, 30.0, 2.0)
    assert not caplog.text


def test_connections_that_were_pinged_meanwhile_end_later(
    cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    end(cuts, resources.now, 2.0, 8.0, 19.0, 15.0, 8.0, 11.0, 8.0)
    assert WARNING in caplog.text


def test_long_silences_may_differ_by_more(cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture) -> None:
    end(cuts, resources.now, 60.0, 62.0, 61.0, every=60.0)
    assert "after 60 s of silence" in caplog.text


def test_connections_that_end_together_may_be_a_client_that_stops(
    cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    end(cuts, resources.now, *[8.0] * 9, every=0.01)
    assert not caplog.text


def test_another_session_is_another_line(cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture) -> None:
    end(cuts, resources.now, 8.0, 8.0)
    cuts.forget()
    end(cuts, resources.now, 8.0, 8.0)
    assert not caplog.text


def test_hardly_any_silence_has_other_reasons(
    cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    end(cuts, resources.now, *[0.5] * 9)
    assert not caplog.text


def test_a_warning_is_not_repeated(cuts: Cuts, resources: Resources, caplog: pytest.LogCaptureFixture) -> None:
    end(cuts, resources.now, *[8.0] * 9)
    assert caplog.text.count(WARNING) == 1
