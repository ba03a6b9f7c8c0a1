"""The start of the program, whatever happens to the clock."""

import pytest

from backhaul.system.uptime import Start


@pytest.mark.parametrize("step", [1.6e9, -3600.0])
def test_the_start_follows_a_clock_that_is_set(step: float) -> None:
    clock, elapsed = [100.0, 160.0 + step], [5.0, 65.0]
    start = Start(lambda: clock.pop(0), lambda: elapsed.pop(0))
    assert start.moment() == 100.0 + step


def test_the_start_stays_while_the_clock_is_corrected_a_little() -> None:
    clock, elapsed = [100.0, 160.5, 219.5, 281.0], [5.0, 65.0, 125.0, 185.0]
    start = Start(lambda: clock.pop(0), lambda: elapsed.pop(0))
    assert [start.moment() for _ in range(3)] == [100.0] * 3
