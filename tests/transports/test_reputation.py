"""Who is trusted by a gate, and who is barred from it."""

import pytest

from backhaul.transports.base import GateLimits
from backhaul.transports.reputation import Reputation, network_of

LIMITS = GateLimits(failures=3, failure_window=60.0, longest_backoff=8.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reputation(clock: Clock) -> Reputation:
    return Reputation(LIMITS, clock)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_counts_as_one_address(ip: str, network: str) -> None:
    assert network_of(ip) == network


def test_many_failures_bar_a_network_for_longer_and_longer(reputation: Reputation, clock: Clock) -> None:
    backoffs = []
    for _ in range(8):
        backoffs.append(reputation.failed("a"))
        assert reputation.barred("a") == bool(backoffs[-1])
        clock.now += backoffs[-1]
        assert not reputation.barred("a")
    assert backoffs == [0, 0, 1, 2, 4, 8, 8, 8]
    assert not reputation.failed("b")


def test_failures_that_are_far_apart_bar_nobody(reputation: Reputation, clock: Clock) -> None:
    for _ in range(10):
        assert not reputation.failed("a")
        clock.now += LIMITS.failure_window / (LIMITS.failures - 1) + 1


def test_a_network_that_has_proved_itself_is_never_barred(reputation: Reputation) -> None:
    for _ in range(5):
        reputation.failed("a")
    reputation.proved("a")
    assert not any(reputation.failed("a") for _ in range(10))
    assert not reputation.barred("a")


def test_only_so_many_networks_are_remembered(clock: Clock) -> None:
    reputation = Reputation(LIMITS, clock, max_networks=2)
    for network in "abc":
        reputation.proved(network)
    assert [reputation.trusts(network) for network in "abc"] == [False, True, True]
    for network in "xxxyyz":
        reputation.failed(network)
    assert not reputation.barred("x")  # displaced
    assert reputation.failed("y")
