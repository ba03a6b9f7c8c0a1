"""The networks that a gate trusts, and those that it bars."""

import pytest
from tests.support.clock import Clock

from backhaul.transports.gates.reputation import Reputation
from backhaul.transports.settings import GateLimits

LIMITS = GateLimits(failures=3, failure_window=60.0, longest_backoff=8.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reputation(clock: Clock) -> Reputation:
    return Reputation(LIMITS, clock)


def test_many_failures_bar_a_network_for_longer_and_longer(reputation: Reputation, clock: Clock) -> None:
    backoffs = []
    for _ in range(8):
        backoffs.append(reputation.failed("a"))
        assert reputation.barred("a") == bool(backoffs[-1])
        clock.now += backoffs[-1]
        assert not reputation.barred("a")
    assert backoffs == [0, 0, 1, 2, 4, 8, 8, 8]
    assert not reputation.failed("b")


def test_a_network_that_has_proved_itself_is_never_barred(reputation: Reputation) -> None:
    for _ in range(5):
        reputation.failed("a")
    reputation.proved("a")
    assert not any(reputation.failed("a") for _ in range(10))
    assert not reputation.barred("a")


def test_a_limited_number_of_networks_is_remembered(clock: Clock) -> None:
    reputation = Reputation(LIMITS, clock, max_networks=2)
    for network in "abc":
        reputation.proved(network)
    assert [reputation.trusts(network) for network in "abc"] == [False, True, True]


def test_failures_of_a_network_that_has_proved_itself_are_excused_for_a_while(
    reputation: Reputation, clock: Clock
) -> None:
    assert not reputation.excused("a")
    reputation.proved("a")
    excused = []
    for seconds in (0, 5, 4.9, 0.2, 30, 30, 59, 61, 9.9, 0.2):
        clock.now += seconds
        reputation.proved("a")  # a neighbour that fits
        excused.append(reputation.excused("a"))
    assert excused == [True, True, True, False, False, False, False, True, True, False]


def test_a_reputation_outlives_its_gate(reputation: Reputation, clock: Clock) -> None:
    reputation.proved("a")
    for _ in range(LIMITS.failures):
        reputation.failed("b")
    later = Reputation(LIMITS, clock)
    later.succeed(reputation)
    assert later.trusts("a")
    assert later.barred("b")
