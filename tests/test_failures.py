"""Who has to wait after failed attempts."""

import pytest

from backhaul.failures import FREE, Failures, prefix


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_a_minute() -> None:
    clock = Clock()
    failures = Failures(clock)
    pauses = []
    for _ in range(FREE + 9):
        failures.failed("a")
        pauses.append(failures.pause("a"))
        clock.now += pauses[-1]
    assert pauses == [0] * (FREE - 1) + [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_pause_is_one_addresss_and_passes() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(FREE):
        failures.failed("a")
    assert failures.pause("b") == 0
    assert failures.pause("a") == 1
    clock.now += 1
    assert failures.pause("a") == 0


@pytest.mark.parametrize("forgiven", ["success", "time"])
def test_an_address_starts_anew(forgiven: str) -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(FREE + 2):
        failures.failed("a")
    if forgiven == "success":
        failures.succeeded("a")
    else:
        clock.now += 2 * failures.pause("a") + 0.1
    failures.failed("a")
    assert failures.pause("a") == 0


def test_a_thousand_addresses_are_remembered_and_no_more() -> None:
    failures = Failures(Clock())
    for address in range(1025):
        for _ in range(FREE):
            failures.failed(address)
    assert [address for address in range(1025) if not failures.pause(address)] == [0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("unknown", "unknown", True),
    ],
)
def test_a_prefix_is_what_one_visitor_has(one: str, other: str, *, same: bool) -> None:
    assert (prefix(one) == prefix(other)) is same
