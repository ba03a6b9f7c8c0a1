"""The client's pauses before it dials again, and their log lines."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.pauses import Pauses, Repeats

INTERVAL = 3.0
AT_ONCE = 0.2


@pytest.fixture
def pauses() -> Pauses:
    """Return pauses without jitter; of a range that begins with 0 the end is used."""
    return Pauses(lambda low, high: (low + high) / 2 if low else high)


def test_pauses_grow_with_failed_attempts(pauses: Pauses) -> None:
    assert [pauses.failed(INTERVAL) for _ in range(7)] == [3, 6, 12, 24, 48, 48, 48]


def test_users_who_wait_shorten_long_pauses_alone(pauses: Pauses) -> None:
    assert [pauses.at_most(pause, 1) for pause in (0.1, 3, 48)] == [0.1, 1, 1]


def test_users_who_wait_shorten_the_pauses_of_a_client_whose_channels_are_closed_early(pauses: Pauses) -> None:
    for _ in range(4):
        pause = pauses.lost(INTERVAL, 1, closed=True)
    assert pauses.taking_turns
    assert pauses.at_most(pause, 1) == 1 < pause


def test_a_proxy_that_asks_for_a_longer_pause_gets_it(pauses: Pauses) -> None:
    assert pauses.failed(INTERVAL, 40) == pauses.at_most(45, 1) == 45  # with jitter: clients should not come at once
    assert pauses.failed(INTERVAL, 3600) == 54
    assert pauses.failed(INTERVAL, 1) == 12
    pauses.failed(INTERVAL, 40)
    pauses.lost(INTERVAL, 3600, closed=False)
    assert pauses.at_most(3, 1) == 1


def test_a_server_that_worked_is_dialled_more_often_for_a_while(pauses: Pauses) -> None:
    pauses.lost(INTERVAL, 3600, closed=False)
    assert [pauses.failed(INTERVAL) for _ in range(62)] == [3, *[5] * 59, 48, 48]
    pauses.lost(INTERVAL, 1, closed=False)
    assert pauses.failed(INTERVAL) == 48


def test_a_longer_interval_is_kept(pauses: Pauses) -> None:
    assert [pauses.failed(100) for _ in range(3)] == [100, 100, 100]


def test_a_server_that_is_away_for_months(pauses: Pauses) -> None:
    assert {pauses.failed(INTERVAL) for _ in range(5000)} == {3, 6, 12, 24, 48}


def test_a_channel_that_worked_resets_the_pauses(pauses: Pauses) -> None:
    for _ in range(5):
        pauses.failed(INTERVAL)
    assert pauses.lost(INTERVAL, 3600, closed=False) == AT_ONCE
    assert pauses.failed(INTERVAL) == INTERVAL


def test_a_server_that_restarts_is_dialled_more_often_for_a_while(pauses: Pauses) -> None:
    assert pauses.stopped(INTERVAL, 2) == AT_ONCE
    assert [pauses.failed(INTERVAL) for _ in range(8)] == [0.25, 0.5, 0.5, 1, 1, 2, 3, 6]
    assert pauses.stopped(0.1, 2) == AT_ONCE
    assert pauses.failed(0.1) == 0.1
    assert pauses.lost(INTERVAL, 3600, closed=False) == AT_ONCE
    assert pauses.failed(INTERVAL) == INTERVAL


def test_a_server_that_stops_at_once_is_not_dialled_more_often(pauses: Pauses) -> None:
    assert [pauses.stopped(INTERVAL, 0.9) for _ in range(3)] == [3, 6, 12]


def test_a_channel_that_did_not_last_counts_as_failed(pauses: Pauses) -> None:
    assert [pauses.lost(INTERVAL, 1, closed=False) for _ in range(3)] == [3, 6, 12]
    assert not pauses.taking_turns


@given(st.floats(1, 40), st.lists(st.booleans()))
def test_jitter_makes_no_pause_longer_than_a_minute(interval: float, successes: list[bool]) -> None:
    pauses = Pauses()
    for success in successes:
        pause = pauses.lost(interval, 1, closed=True) if success else pauses.failed(interval)
        assert 0.75 * interval <= pause <= 60


class TestTurns:
    def test_a_client_that_is_replaced_at_once(self, pauses: Pauses) -> None:
        assert [pauses.lost(INTERVAL, 0.1, closed=True) for _ in range(6)] == [3, 3, 3, 6, 12, 24]
        assert pauses.taking_turns

    def test_a_client_that_is_replaced_after_the_pause_of_the_other(self, pauses: Pauses) -> None:
        first = [pauses.lost(INTERVAL, 3.1, closed=True) for _ in range(2)]
        assert (first, pauses.taking_turns) == ([AT_ONCE] * 2, False)
        later = [pauses.lost(INTERVAL, lasted, closed=True) for lasted in (3.1, 6.1, 12.1, 24.1, 48.1, 48.1)]
        assert (later, pauses.taking_turns) == ([3, 6, 12, 24, 48, 48], True)

    @given(st.integers(), st.floats(1, 15))
    def test_two_clients_with_jitter_slow_down(self, seed: int, interval: float) -> None:
        """Each is connected while the other waits."""
        one, other = (Pauses(Random(seed + end).uniform) for end in range(2))  # noqa: S311 - no secret
        wait = interval
        for _ in range(20):
            wait = one.lost(interval, wait, closed=True)
            one, other = other, one
        assert one.taking_turns
        assert other.taking_turns
        assert wait > 30

    def test_the_turns_are_forgotten_once_the_other_client_has_left(self, pauses: Pauses) -> None:
        for _ in range(6):
            pauses.lost(INTERVAL, 1, closed=True)
        assert pauses.lost(INTERVAL, 600, closed=True) == AT_ONCE
        assert not pauses.taking_turns
        assert pauses.failed(INTERVAL) == INTERVAL

    def test_a_proxy_that_cuts_every_minute_is_no_other_client(self, pauses: Pauses) -> None:
        assert {pauses.lost(INTERVAL, 60, closed=True) for _ in range(9)} == {AT_ONCE}

    def test_a_server_that_is_away_now_and_then_is_no_other_client(self, pauses: Pauses) -> None:
        for _ in range(9):
            pauses.lost(INTERVAL, 5, closed=True)
            for _ in range(4):
                pauses.failed(INTERVAL)
        assert not pauses.taking_turns

    def test_a_v072_server_that_restarts_for_each_client(self, pauses: Pauses) -> None:
        for _ in range(3):
            pauses.failed(INTERVAL)
            pauses.lost(INTERVAL, 0.1, closed=True)
        assert pauses.taking_turns
        assert [pauses.failed(INTERVAL), pauses.lost(INTERVAL, 0.1, closed=True)] == [6, 12]

    def test_a_server_that_gives_a_reason_is_no_other_client(self, pauses: Pauses) -> None:
        assert {pauses.lost(INTERVAL, 5, closed=False) for _ in range(9)} == {AT_ONCE}


def test_equal_lines_are_written_now_and_then() -> None:
    repeats = Repeats()
    lines = [repeats.worded("refused") for _ in range(200)]
    assert lines[:4] == ["refused", "refused (2 times in a row)", "", "refused (4 times in a row)"]
    assert [number for number, line in enumerate(lines, 1) if line] == [1, 2, 4, 8, 16, 32, 64, 128, 192]


def test_another_line_is_written_at_once_and_counted_from_one() -> None:
    repeats = Repeats()
    assert [repeats.worded(text) for text in "aaaba"] == ["a", "a (2 times in a row)", "", "b", "a"]


def test_after_a_success_a_line_is_written_again() -> None:
    repeats = Repeats()
    repeats.worded("refused")
    repeats.forget()
    assert repeats.worded("refused") == "refused"
