"""The silence before the loss of a control channel."""

import pytest
from tests.support.clock import Clock

from backhaul.transports.control.silence import NOTABLE, Silence


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_loss_in_the_middle_of_traffic_is_described_without_silence(clock: Clock) -> None:
    silence = Silence(clock)
    clock.now += NOTABLE
    silence.broken()
    clock.now += NOTABLE - 1
    assert silence.before("the peer closed it") == "the peer closed it"


def test_a_loss_after_a_silence_names_its_seconds(clock: Clock) -> None:
    silence = Silence(clock)
    clock.now += 20
    assert silence.before("the peer closed it") == "the peer closed it after 20 s of silence"


def test_a_channel_falls_silent_at_the_second_look_without_bytes(clock: Clock) -> None:
    silence = Silence(clock)
    assert not silence.fell()
    assert silence.fell()
    silence.broken()
    assert not silence.fell()
