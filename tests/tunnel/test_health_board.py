"""The health checks that the server asks a client to make."""

from msgspec.structs import replace

from backhaul.tunnel.health_board import HealthBoard
from backhaul.wire.checks import Check, Health

WANTED = Check(0, "127.0.0.1:80", "/", interval=5, rise=2, fall=3)


def test_a_client_learns_of_each_check_and_of_its_end() -> None:
    asked, told = list[Check](), list[Health]()
    board = HealthBoard(asked.append)
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
    board = HealthBoard(lambda _: None)
    ended, going_on = (board.add(WANTED, told.append) for _ in range(2))
    board.discard(ended)
    for number in (ended, going_on):
        board.reported(Health(number, healthy=False, reason="refused"))
    assert [health.number for health in told] == [going_on]
