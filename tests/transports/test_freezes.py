"""The number of bytes after which connections freeze."""

import itertools
import logging

import pytest

from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.carriers.freezes import Freezes

WARNING = "tunnel connections freeze after some 15 kB"
FIRST = 11_250.0  # three quarters of 15 kB


def freeze(freezes: Freezes, *carried: int) -> None:
    """Let connections become silent one after the other."""
    clock = itertools.count()
    for each in carried:
        freezes.froze(each, next(clock), next(clock))


@pytest.fixture
def freezes() -> Freezes:
    return Freezes(LogThrottle(logging.getLogger("backhaul.mux")))


@pytest.fixture
def known(freezes: Freezes) -> Freezes:
    """Some that know their limit."""
    freeze(freezes, *[15_000] * 3)
    return freezes


def test_three_connections_that_freeze_alike_are_named_and_set_a_limit(
    freezes: Freezes, caplog: pytest.LogCaptureFixture
) -> None:
    for at, carried in enumerate((15_000, 20_000)):
        assert freezes.froze(carried, at, at + 0.5)
    assert (freezes.limit, caplog.text) == (0.0, "")
    assert freezes.froze(22_500, 2, 2.5)
    assert freezes.limit == FIRST
    assert WARNING in caplog.text


def test_only_the_last_three_are_compared(freezes: Freezes) -> None:
    freeze(freezes, 60_000, 5_000, 15_000, 15_000)
    assert not freezes.limit
    freezes.froze(15_000, 8, 9)
    assert freezes.limit == FIRST


def test_connections_that_become_silent_together_are_one_outage(
    freezes: Freezes, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that was down for five seconds looked like a firewall, and all connections were replaced after 11 kB."""
    for _ in range(5):
        assert freezes.froze(15_000, 1, 2)
    freezes.froze(15_000, 3, 4)
    assert (freezes.limit, caplog.text) == (0.0, "")
    freezes.froze(15_000, 5, 6)
    assert freezes.limit == FIRST


@pytest.mark.parametrize("carried", [[15_000, 15_000, 22_501], [4_095] * 3, [65_537] * 3])
def test_others_set_none(freezes: Freezes, carried: list[int]) -> None:
    freeze(freezes, *carried)
    assert not freezes.limit


@pytest.mark.parametrize("carried", [4_095, 65_537])
def test_a_silence_after_few_or_many_bytes_has_another_reason(freezes: Freezes, carried: int) -> None:
    assert not freezes.froze(carried, 0, 1)


def test_no_connection_carries_less_than_its_handshakes(freezes: Freezes) -> None:
    freeze(freezes, *[4_100] * 3)
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
        freeze(known, 15_000)
        assert known.limit == FIRST
    assert not caplog.text


def test_a_silence_after_more_bytes_changes_nothing(known: Freezes) -> None:
    freeze(known, 15_000)
    assert known.limit == FIRST
    assert trial(known) == 32


def test_a_limit_that_was_never_reached_is_forgotten(known: Freezes) -> None:
    for _ in range(3):
        trial(known)
    assert not known.limit
    freeze(known, 15_000)
    assert not known.limit
