"""The number of bytes after which connections freeze."""

import logging

import pytest

from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.carriers.freezes import Freezes

WARNING = "tunnel connections freeze after some 15 kB"
FIRST = 11_250.0  # three quarters of 15 kB


@pytest.fixture
def freezes() -> Freezes:
    return Freezes(LogThrottle(logging.getLogger("backhaul.mux")))


@pytest.fixture
def known(freezes: Freezes) -> Freezes:
    """Some that know their limit."""
    for _ in range(3):
        freezes.froze(15_000)
    return freezes


def test_three_connections_that_freeze_alike_are_named_and_set_a_limit(
    freezes: Freezes, caplog: pytest.LogCaptureFixture
) -> None:
    for carried in (15_000, 20_000):
        assert freezes.froze(carried)
    assert (freezes.limit, caplog.text) == (0.0, "")
    assert freezes.froze(22_500)
    assert freezes.limit == FIRST
    assert WARNING in caplog.text


def test_only_the_last_three_are_compared(freezes: Freezes) -> None:
    for carried in (60_000, 5_000, 15_000, 15_000):
        freezes.froze(carried)
        assert not freezes.limit
    freezes.froze(15_000)
    assert freezes.limit == FIRST


@pytest.mark.parametrize("carried", [[15_000, 15_000, 22_501], [4_095] * 3, [65_537] * 3])
def test_others_set_none(freezes: Freezes, carried: list[int]) -> None:
    for each in carried:
        freezes.froze(each)
    assert not freezes.limit


@pytest.mark.parametrize("carried", [4_095, 65_537])
def test_a_silence_after_few_or_many_bytes_has_another_reason(freezes: Freezes, carried: int) -> None:
    assert not freezes.froze(carried)


def test_no_connection_carries_less_than_its_handshakes(freezes: Freezes) -> None:
    for _ in range(3):
        freezes.froze(4_100)
    assert freezes.limit == 4_096


def trial(freezes: Freezes) -> int:
    """Replace connections until twice as much is tried; return their number."""
    before, count = freezes.limit, 0
    while freezes.limit == before:
        freezes.replaced()
        count += 1
    return count


def test_now_and_then_twice_as_much_is_tried(known: Freezes) -> None:
    assert trial(known) == 32
    assert known.limit == 2 * FIRST
    assert trial(known) == 32
    assert known.limit == 4 * FIRST


def test_a_failed_trial_is_repeated_later_without_a_word(known: Freezes, caplog: pytest.LogCaptureFixture) -> None:
    for length in (32, 64, 128, 256, 512, 1024, 1024):
        assert trial(known) == length
        known.froze(15_000)
        assert known.limit == FIRST
    assert not caplog.text


def test_a_silence_after_more_bytes_changes_nothing(known: Freezes) -> None:
    known.froze(15_000)
    assert known.limit == FIRST
    assert trial(known) == 32


def test_a_limit_that_was_never_reached_is_forgotten(known: Freezes) -> None:
    for _ in range(3):
        trial(known)
    assert not known.limit
    known.froze(15_000)
    assert not known.limit
