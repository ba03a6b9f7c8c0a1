"""The time for which users wait for a carrier, with a clock and a client of the test's."""

import math

import pytest

from backhaul.tunnel.wait_limit import WaitLimit


class Line:
    """A clock, and the time that the client needs for a connection."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.dial_time = 0.0
        self.limit = WaitLimit(3, 20, lambda: self.dial_time, lambda: self.now)

    def seconds(self) -> float:
        """Return the seconds for which a user who came at 1000 waits."""
        return self.limit.until(1000.0) - 1000.0


@pytest.fixture
def line() -> Line:
    return Line()


def test_on_a_quick_line(line: Line) -> None:
    line.dial_time = 2.0
    assert line.seconds() == 3


def test_a_slow_line_has_the_time_for_a_dial(line: Line) -> None:
    line.dial_time = 8.0
    assert line.seconds() == 8


def test_no_line_is_waited_for_longer_than_the_bound(line: Line) -> None:
    line.dial_time = math.inf
    assert line.seconds() == 20


def test_a_carrier_for_another_user_gives_those_who_wait_more_time(line: Line) -> None:
    line.now = 1002.0
    line.limit.carried()
    assert line.seconds() == 5


def test_users_do_not_wait_for_ever_while_others_get_carriers(line: Line) -> None:
    line.now = 1019.0
    line.limit.carried()
    assert line.seconds() == 20


def test_carriers_of_earlier_users_count_for_none_who_come_later(line: Line) -> None:
    line.now = 900.0
    line.limit.carried()
    assert line.seconds() == 3


def test_the_bound_shortens_no_usual_time() -> None:
    assert WaitLimit(30, 20, lambda: 0.0).until(0.0) == 30
