"""The health checks that the server asks a client to make."""

from msgspec.structs import replace
from tests.support.clock import Loop

from backhaul.tunnel.health_board import HealthBoard
from backhaul.wire.checks import Check, Health

WANTED = Check(0, "127.0.0.1:80", "/", interval=5, rise=2, fall=3)


def test_a_client_learns_of_each_check_and_of_its_end() -> None:
    asked, told = list[Check](), list[Health]()
    board = HealthBoard(asked.append, Loop())
    first, second = (board.add(WANTED, told.append) for _ in range(2))
    assert first != second
    assert asked == [replace(WANTED, number=number) for number in (first, second)]
    board.discard(first)
    board.discard(first)
    assert asked[2:] == [replace(WANTED, number=first, interval=0)]
    board.client_came()
    assert asked[3:] == [replace(WANTED, number=second)]


def test_the_outcome_of_a_check_that_has_ended_is_ignored() -> None:
    told = list[Health]()
    board = HealthBoard(lambda _: None, Loop())
    ended, going_on = (board.add(WANTED, told.append) for _ in range(2))
    board.discard(ended)
    for number in (ended, going_on):
        board.reported(Health(number, healthy=False, reason="refused"))
    assert [health.number for health in told] == [going_on]


def reported(board: HealthBoard, number: int, *outcomes: bool) -> None:
    """Report these outcomes of a check, one after the other."""
    for healthy in outcomes:
        board.reported(Health(number, healthy=healthy, reason=""))


def test_of_many_outcomes_at_once_the_first_and_the_last_one_count() -> None:
    told, loop = list[Health](), Loop()
    board = HealthBoard(lambda _: None, loop)
    number = board.add(WANTED, told.append)
    reported(board, number, True, *[False, True] * 100, False)
    assert [health.healthy for health in told] == [True]
    loop.run_for(WANTED.interval)
    assert [health.healthy for health in told] == [True, False]
    reported(board, number, True)
    assert len(told) == 2
    loop.run_for(WANTED.interval)
    assert [health.healthy for health in told] == [True, False, True]


def test_outcomes_that_a_client_can_find_are_passed_on_at_once() -> None:
    told, loop = list[Health](), Loop()
    board = HealthBoard(lambda _: None, loop)
    number = board.add(WANTED, told.append)
    for count in range(1, 4):
        reported(board, number, True)
        assert len(told) == count
        loop.run_for(WANTED.interval * 0.9)


def test_an_outcome_that_waits_is_dropped_with_its_check_or_client() -> None:
    told, loop = list[Health](), Loop()
    board = HealthBoard(lambda _: None, loop)
    ended, going_on = (board.add(WANTED, told.append) for _ in range(2))
    for number in (ended, going_on):
        reported(board, number, True, False)
    board.discard(ended)
    board.client_came()
    assert not loop.waiting
    reported(board, going_on, True)
    assert [health.healthy for health in told] == [True, True, True]
