"""The choice of the best of several servers, with measurements and a clock of the test."""

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.best import BETTER, DWELL, ENOUGH, ROUNDS, UNREACHABLE, WINDOW, Best, Measurement
from backhaul.tunnel.standing import View

EVERY = 20.0  # seconds between measurements
HALF_AN_HOUR = 30 * 60
UP = View(connected=True, failures=0, since=0)
DIALLED = View(connected=False, failures=0, since=math.inf)
FAILING = View(connected=False, failures=2, since=math.inf)

Draw = Callable[[float], Measurement]
"""A measurement at a time."""


class Line:
    """Two servers, and the changes from one to the other."""

    def __init__(self, *lines: Draw) -> None:
        self.best = Best(len(lines))
        self.changes: list[float] = []
        self.used: tuple[int, ...] = (0,)
        self._lines = lines
        self._now = 0.0

    def run(self, seconds: float) -> None:
        """Let time pass while all servers can be reached."""
        for _ in range(int(seconds / EVERY)):
            self._now += EVERY
            for place, line in enumerate(self._lines):
                self.best.measured(place, line(self._now))
            self._choose()

    def _choose(self) -> None:
        views = [UP] * len(self._lines)
        self.best.choose(views, self._now)
        used = self.best.choose(views, self._now)
        if used != self.used:
            self.changes.append(self._now)
            self.used = used


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret


def steady(seconds: float) -> Draw:
    return lambda _: Measurement(seconds, lossy=False)


def noisy(noise: random.Random, seconds: float, sigma: float, loss: float = 0.0) -> Draw:
    def draw(_: float) -> Measurement:
        lost = noise.random() < loss
        return Measurement(seconds * noise.lognormvariate(0, sigma) + (noise.choice([0.2, 1]) if lost else 0), lost)

    return draw


@pytest.mark.parametrize("loss", [0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_half_an_hour_of_noise_is_no_reason_to_change(seed: int, loss: float) -> None:
    noise = seeded(seed)
    line = Line(noisy(noise, 0.05, 0.5, loss), noisy(noise, 0.05, 0.5, loss))
    line.run(HALF_AN_HOUR)
    assert line.changes == []


@given(st.lists(st.tuples(*[st.floats(0.05, 0.05 / BETTER * 0.99)] * 2), max_size=60))
def test_a_difference_that_is_too_small_is_no_reason_to_change(moments: list[tuple[float, float]]) -> None:
    best = Best(2)
    for number, both in enumerate(moments):
        for place, seconds in enumerate(both):
            best.measured(place, Measurement(seconds, lossy=False))
        assert best.choose([UP, UP], number * EVERY) == (0,)


@pytest.mark.parametrize("period", [600, 800])
def test_there_is_no_second_change_within_ten_minutes(period: float) -> None:
    """Each server is the better one in turn."""
    good, bad = Measurement(0.01, lossy=False), Measurement(0.1, lossy=True)
    line = Line(
        lambda now: bad if now // period % 2 else good,
        lambda now: good if now // period % 2 else bad,
    )
    line.run(4 * HALF_AN_HOUR)
    assert len(line.changes) > 1
    assert all(two - one >= DWELL for one, two in pairwise(line.changes))


def test_a_line_that_becomes_slow_is_left_once() -> None:
    noise = seeded(1)
    before, after = noisy(noise, 0.05, 0.3), noisy(noise, 0.15, 0.3)
    line = Line(lambda now: (before if now < 600 else after)(now), noisy(noise, 0.05, 0.3))
    line.run(2 * HALF_AN_HOUR)
    [change] = line.changes
    assert 600 < change < 600 + WINDOW * EVERY
    assert line.used == (1,)


def test_a_line_that_loses_packets_is_left() -> None:
    noise = seeded(1)
    line = Line(noisy(noise, 0.05, 0.2, loss=0.5), noisy(noise, 0.05, 0.2))
    line.run(HALF_AN_HOUR)
    assert line.used == (1,)


def test_a_server_that_is_far_away_is_no_better_for_losing_nothing() -> None:
    noise = seeded(1)
    line = Line(noisy(noise, 0.05, 0.2, loss=0.5), noisy(noise, 0.5, 0.2))
    line.run(HALF_AN_HOUR)
    assert line.used == (0,)


def test_less_than_a_user_notices_is_no_reason_to_change() -> None:
    line = Line(steady(0.002), steady(0.0001))
    line.run(HALF_AN_HOUR)
    assert line.changes == []


def prefer(best: Best, place: int) -> None:
    """Let the server at ``place`` be better for long enough."""
    for _ in range(ENOUGH + ROUNDS):
        best.measured(place, Measurement(0.01, lossy=False))
        best.measured(1 - place, UNREACHABLE)


class TestChange:
    def test_the_new_server_is_connected_before_the_old_one_is_left(self) -> None:
        best = Best(2)
        prefer(best, 1)
        assert best.choose([UP, DIALLED], 0) == (0, 1)
        assert best.choose([UP, DIALLED], 1) == (0, 1)
        assert best.choose([UP, UP], 2) == (1,)
        assert best.choose([DIALLED, UP], 3) == (1,)

    def test_a_better_server_that_can_not_be_reached_is_given_up_for_a_while(self) -> None:
        best = Best(2)
        prefer(best, 1)
        assert best.choose([UP, DIALLED], 0) == (0, 1)
        assert best.choose([UP, FAILING], 1) == (0,)
        assert best.choose([UP, DIALLED], DWELL) == (0,)
        assert best.choose([UP, DIALLED], DWELL + 1) == (0, 1)

    def test_another_server_takes_the_place_of_one_that_fails(self) -> None:
        best = Best(3)
        assert best.choose([DIALLED] * 3, 0) == (0,)
        assert best.choose([FAILING, DIALLED, DIALLED], 1) == (0, 1)
        assert best.choose([FAILING, FAILING, DIALLED], 2) == (0, 2)
        assert best.choose([FAILING, DIALLED, FAILING], 3) == (0, 1)
        assert best.choose([FAILING, UP, DIALLED], 4) == (1,)

    def test_the_best_of_the_others_comes_first(self) -> None:
        best = Best(3)
        for place, seconds in ((1, 0.2), (2, 0.1)):
            for _ in range(ENOUGH):
                best.measured(place, Measurement(seconds, lossy=False))
        assert best.choose([FAILING, DIALLED, DIALLED], 0) == (0, 2)

    def test_a_server_that_was_away_for_a_moment_is_kept(self) -> None:
        best = Best(2)
        assert best.choose([FAILING, DIALLED], 0) == (0, 1)
        assert best.choose([UP, DIALLED], 1) == (0,)

    def test_a_server_that_can_not_be_measured_is_a_last_resort(self) -> None:
        best = Best(2)
        assert best.choose([FAILING, DIALLED], 0) == (0, 1)
        assert best.choose([FAILING, UP], 1) == (1,)
        for _ in range(ENOUGH + ROUNDS):
            best.measured(0, UNREACHABLE)
        assert best.choose([DIALLED, UP], 1 + DWELL) == (1,)
        for _ in range(WINDOW):
            best.measured(0, Measurement(0.1, lossy=False))
        assert best.choose([DIALLED, UP], DWELL) == (1,)
        assert best.choose([DIALLED, UP], 1 + DWELL) == (0, 1)
        assert best.choose([UP, UP], 2 + DWELL) == (0,)

    def test_a_single_server_has_no_successor(self) -> None:
        assert Best(1).choose([FAILING], 0) == (0,)
