"""Tunnel connections that were opened, and may be closed at once."""

import logging

import pytest

from backhaul.tunnel.openings import Openings
from backhaul.tunnel.trial import Trial

CUT = "each is closed at once"
ROUND = 1.0  # seconds


@pytest.fixture
def trial() -> Trial:
    return Trial(Openings((ROUND,), logging.getLogger("backhaul.client")))


def rounds(trial: Trial, count: int, *, opened: bool, any_open: bool = False) -> None:
    """Let some rounds pass, each with connections that are opened if ``opened`` says so."""
    for number in range(1, count + 1):
        if opened:
            trial.opened()
        trial.look(any_open=any_open)
        trial.due(100.0 + 2 * ROUND * number)


def test_connections_that_are_closed_at_once_have_failed(trial: Trial) -> None:
    rounds(trial, 2, opened=True)
    assert CUT in trial.problem


def test_without_connections_there_is_nothing_to_fail(trial: Trial) -> None:
    rounds(trial, 5, opened=False)
    assert not trial.problem


def test_one_that_is_open_is_no_failure_yet(trial: Trial) -> None:
    for number in range(5):
        trial.opened()
        trial.look(any_open=True)
        assert trial.due(100.0 + 2 * ROUND * number)
        trial.look(any_open=False)
    assert not trial.problem


def test_one_that_is_open_at_two_looks_is_a_success(trial: Trial) -> None:
    rounds(trial, 2, opened=True)
    rounds(trial, 1, opened=True, any_open=True)
    assert trial.problem
    trial.look(any_open=True)
    assert not trial.problem
    rounds(trial, 5, opened=False)
    assert not trial.problem


def test_looks_that_are_not_consecutive_prove_nothing(trial: Trial) -> None:
    rounds(trial, 2, opened=True)
    trial.opened()
    for any_open in (True, False, True):
        trial.look(any_open=any_open)
    assert trial.problem


def test_a_user_proves_a_connection_at_once(trial: Trial) -> None:
    rounds(trial, 2, opened=True)
    trial.opened()
    trial.lasted()
    assert not trial.problem


def test_a_user_of_an_older_connection_proves_nothing(trial: Trial) -> None:
    for number in range(2):
        trial.failed("refused", 100.0 + 2 * ROUND * number, 0.0)
    trial.lasted()
    assert "refused" in trial.problem


def test_one_that_can_not_be_opened_explains_the_others(trial: Trial) -> None:
    for number in range(1, 4):
        trial.opened()
        trial.failed("refused", 100.0 + 2 * ROUND * number, 0.0)
        trial.look(any_open=False)
        trial.due(101.5 + 2 * ROUND * number)
    assert "refused" in trial.problem


def test_a_new_control_channel_begins_again(trial: Trial) -> None:
    rounds(trial, 2, opened=True)
    trial.opened()
    trial.look(any_open=True)
    trial.begin()
    assert not trial.problem
    assert trial.due(100.0)
    trial.look(any_open=True)
    trial.opened()
    trial.begin()
    rounds(trial, 5, opened=False)
    assert not trial.problem
