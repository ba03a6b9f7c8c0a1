"""The sliding window over sequence numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.security.replay import SIZE, ReplayWindow


@given(st.lists(st.integers(0, 60), max_size=200))
def test_a_number_is_used_once_unless_it_is_too_old(numbers: list[int]) -> None:
    window, used = ReplayWindow(size=16), set[int]()
    for number in numbers:
        expected = number not in used and number > max(used, default=-1) - 16
        assert window.fresh(number) is expected
        assert window.use(number) is expected
        used.add(number)


@pytest.mark.parametrize("jump", [1, SIZE - 1, SIZE, SIZE + 1, 1 << 62])
def test_a_jump_leaves_nothing_behind_that_could_be_used_again(jump: int) -> None:
    window = ReplayWindow()
    assert window.use(0)
    assert window.use(jump)
    assert not window.use(0)
    assert not window.use(jump)
    assert window.use(jump + 1)


def test_a_number_that_is_only_checked_stays_fresh() -> None:
    window = ReplayWindow()
    assert all(window.fresh(7) for _ in range(3))
    assert window.use(7)


def test_numbers_within_the_window_may_arrive_in_any_order() -> None:
    window = ReplayWindow()
    assert all(window.use(number) for number in reversed(range(SIZE)))
    assert not any(window.use(number) for number in range(SIZE))
