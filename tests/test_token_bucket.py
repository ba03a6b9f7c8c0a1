"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.token_bucket import TokenBucket, allowance

RATES = st.floats(0.5, 1e9)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9)), max_size=30)


@given(RATES, RATES, STEPS)
def test_over_any_time_no_more_passes_than_burst_and_rate_allow(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    bucket, now, passed = TokenBucket(rate, burst, 0.0), 0.0, 0.0
    for pause, count in steps:
        now += pause
        if bucket.has(now, count):
            bucket.spend(now, count)
            passed += count
    assert passed <= (burst + rate * now) * (1 + 1e-9)


@given(RATES, RATES, st.floats(0, 1e9))
def test_after_the_wait_no_debt_is_left(rate: float, burst: float, count: float) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    bucket.spend(0.0, count)
    assert bucket.wait(bucket.wait(0.0)) == pytest.approx(0.0, abs=1e-6)


def test_a_bucket_fills_up_to_its_burst() -> None:
    bucket = TokenBucket(2, 10, 0.0)
    bucket.spend(0.0, 16)
    assert bucket.wait(0.0) == 3
    assert not bucket.has(3.0, 0.1)
    assert bucket.has(8.0, 10)
    assert not bucket.has(1e6, 10.1)


def test_time_that_goes_back_takes_nothing() -> None:
    bucket = TokenBucket(1, 5, 100.0)
    bucket.spend(100.0, 5)
    assert bucket.wait(50.0) == 0
    assert bucket.has(101.0, 1)


def test_a_changed_rate_leaves_spent_what_is_spent() -> None:
    bucket = TokenBucket(1, 10, 0.0)
    bucket.spend(0.0, 8)
    bucket.change(2, 100, 0.0)
    assert bucket.spent(0.0) == 98
    assert bucket.spent(4.0) == 90
    bucket.change(1, 5, 4.0)
    assert bucket.spent(4.0) == 0
    bucket.spend(4.0, 20)
    bucket.change(1, 5, 4.0)
    assert bucket.wait(4.0) == 15
    bucket.change(10, 10, 4.0)
    assert bucket.wait(4.0) == 1  # a debt of more than the new burst is forgiven


def test_an_allowance_goes_on_with_what_is_left() -> None:
    assert allowance(None, 0, 0.0) is None
    first = allowance(None, 2, 0.0)
    assert first
    first.spend(0.0, 2)
    second = allowance(first, 2, 0.0)
    assert second
    assert not second.has(0.0, 1)
    assert allowance(second, 0, 0.0) is None
