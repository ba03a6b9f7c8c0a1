"""The choice among several servers."""

import math

from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.choice import FAILURES, InOrder, Together
from backhaul.tunnel.standing import BRIEF, HOPELESS, Standing, View

STABLE = 60.0


def up(since: float) -> View:
    return View(connected=True, failures=0, since=since)


def down(failures: int = 0) -> View:
    return View(connected=False, failures=failures, since=math.inf)


class TestInOrder:
    def test_the_first_server_is_dialled_alone(self) -> None:
        choice = InOrder(stable=STABLE)
        assert choice.choose([down(), down()], 0) == range(1)
        assert choice.choose([down(FAILURES - 1), down()], 1) == range(1)
        assert choice.choose([up(2), down()], 1000) == range(1)

    def test_the_next_server_comes_after_two_failures_in_a_row(self) -> None:
        choice = InOrder(stable=STABLE)
        assert choice.choose([down(FAILURES), down(), down()], 0) == range(2)
        assert choice.choose([down(FAILURES + 1), down(FAILURES - 1), down()], 0) == range(2)
        assert choice.choose([down(FAILURES + 2), down(FAILURES), down()], 0) == range(3)
        assert choice.choose([down(9), down(9), down(9)], 0) == range(3)

    def test_no_further_server_is_dialled_while_one_is_connected(self) -> None:
        choice = InOrder(stable=STABLE, last=1)
        assert choice.choose([down(9), up(0), down()], 1000) == range(2)
        assert choice.choose([down(9), down(), down()], 1000) == range(2)

    def test_later_servers_are_left_when_an_earlier_one_has_been_connected_for_a_minute(self) -> None:
        choice = InOrder(stable=STABLE, last=2)
        views = [down(9), up(100), up(0)]
        assert choice.choose(views, 100 + STABLE - 1) == range(3)
        assert choice.choose(views, 100 + STABLE) == range(2)

    def test_an_earlier_server_that_fails_again_changes_nothing(self) -> None:
        choice = InOrder(stable=STABLE, last=1)
        assert choice.choose([up(100), up(0)], 110) == range(2)
        assert choice.choose([down(1), up(0)], 111) == range(2)
        assert choice.choose([up(150), up(0)], 170) == range(2)

    def test_a_server_that_ends_the_later_one_is_the_same_program(self) -> None:
        choice = InOrder(stable=STABLE, last=1)
        assert choice.choose([up(100), down()], 100) == range(1)

    @given(st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.floats(0, 90)), min_size=3, max_size=3)))
    def test_any_events(self, moments: list[list[tuple[bool, int, float]]]) -> None:
        choice, now, last = InOrder(stable=STABLE), 0.0, 1
        for moment in moments:
            now += 100
            views = [up(now - age) if connected else down(failures) for connected, failures, age in moment]
            used = choice.choose(views, now)
            assert used.start == 0
            assert last - 2 <= used.stop <= min(last + 1, 3)
            assert used.stop <= last or not any(view.connected for view in views[:last])
            assert used.stop >= last or views[used[-1]].connected
            assert not any(view.connected and now - view.since >= STABLE for view in views[: used.stop - 1])
            last = used.stop


def test_together_all_servers_are_in_use() -> None:
    assert Together().choose([down(9), up(0), down()], 0) == range(3)


class TestStanding:
    def test_failures_in_a_row_are_counted(self) -> None:
        standing = Standing()
        standing.failed()
        standing.failed()
        assert standing.view(connected=False) == down(2)
        standing.begin()
        assert standing.view(connected=False) == down()

    def test_a_control_channel_that_does_not_last_is_a_failure(self) -> None:
        standing = Standing()
        standing.failed()
        standing.connected(0)
        standing.lost(BRIEF - 1)
        assert standing.view(connected=False) == down(2)
        standing.connected(100)
        assert standing.view(connected=True) == View(connected=True, failures=2, since=100)
        standing.lost(100 + BRIEF)
        assert standing.view(connected=False) == down()

    def test_a_server_that_carries_no_users_is_no_better_than_one_that_fails(self) -> None:
        standing = Standing()
        standing.connected(7)
        assert standing.view(connected=False) == View(connected=False, failures=HOPELESS, since=7)

    def test_each_change_is_reported(self) -> None:
        changes: list[int] = []
        standing = Standing()
        standing.listener = lambda: changes.append(standing.failures)
        standing.failed()
        standing.connected(0)
        standing.lost(0)
        assert changes == [1, 1, 2]
