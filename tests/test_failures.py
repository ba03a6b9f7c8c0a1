"""Failures of networks: the addresses that count as one, and the length of their pauses."""

import pytest
from tests.support.clock import Clock

from backhaul.failures import Failures, network_of

WINDOW, FIRST, LONGEST = 60.0, 1.0, 8.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> Failures:
    return Failures(2, WINDOW, FIRST, LONGEST, clock, most=2)


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_addresses_of_one_network(ip: str, network: str) -> None:
    assert network_of(ip) == network


@pytest.mark.parametrize("step", [0.001, 0.1, 5.0])
def test_pauses_double_up_to_the_longest(failures: Failures, clock: Clock, step: float) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(failures.failed("a"))
        assert failures.pause("a") == pytest.approx(pauses[-1])
        clock.now += pauses[-1] + step
        assert failures.pause("a") == 0
    assert pauses == [0, 0, 1, 2, 4, 8, 8, 8]
    assert not failures.failed("b")


def test_failures_that_are_far_apart_have_no_consequence(failures: Failures, clock: Clock) -> None:
    for _ in range(10):
        assert not failures.failed("a")
        clock.now += WINDOW / 2 + 1


def test_a_network_starts_over_when_it_has_not_failed_for_a_window(failures: Failures, clock: Clock) -> None:
    for _ in range(4):
        clock.now += failures.failed("a")
    clock.now += WINDOW + 1
    assert [failures.failed("a") for _ in range(3)] == [0, 0, 1]


def test_a_limited_number_of_networks_is_remembered(failures: Failures) -> None:
    for network in "aaabbbc":
        failures.failed(network)
    assert [failures.pause(network) for network in "abc"] == [0, 1, 0]
