"""The silence of UDP tunnels, with a clock that the test moves."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.clock import Loop

from backhaul.relay.patience import Patience
from backhaul.transports.carriers.udp_silence import UdpSilence

PATIENCE = Patience().unannounced


class Stage:
    """A watch for silence, and what it reports."""

    def __init__(self) -> None:
        self.loop, self.reports = Loop(), Counter[str]()
        timekeeper: Any = SimpleNamespace(loop=self.loop, patience=Patience())
        fit: Any = SimpleNamespace(
            ceased=lambda: self.reports.update(["ceased"]), proved=lambda: self.reports.update(["proved"])
        )
        self.silence = UdpSilence(timekeeper, lambda: fit)
        self.silence.begin()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_client_that_announces_is_not_silent(stage: Stage) -> None:
    for _ in range(10):
        stage.loop.run_for(PATIENCE * 0.9)
        stage.silence.heard()
    assert not stage.reports


def test_a_silence_is_reported_once_and_so_is_its_end(stage: Stage) -> None:
    for times in (1, 2):
        stage.loop.run_for(PATIENCE)
        assert stage.reports == Counter(ceased=times - 1, proved=times - 1)
        stage.loop.run_for(PATIENCE)
        assert stage.reports["ceased"] == times
        stage.loop.run_for(10 * PATIENCE)
        assert stage.reports == Counter(ceased=times, proved=times - 1)
        for _ in range(2):
            stage.silence.heard()
            assert stage.reports == Counter(ceased=times, proved=times)


def test_a_new_control_channel_has_all_the_time(stage: Stage) -> None:
    stage.loop.run_for(PATIENCE * 1.9)
    stage.silence.begin()
    assert stage.loop.waiting == 1
    stage.loop.run_for(PATIENCE * 1.9)
    assert not stage.reports


def test_nothing_is_expected_without_a_control_channel(stage: Stage) -> None:
    for _ in range(2):
        stage.silence.end()
        assert stage.loop.waiting == 0
