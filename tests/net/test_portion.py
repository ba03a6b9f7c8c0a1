"""The size of a connection's next read, by the time that the last one cost."""

import pytest

from backhaul.net.portion import LEAST, MOST, handle

QUICK, SLOW = 0.5e-9, 100e-9  # seconds for each byte


class Connection:
    """A connection with more bytes than are read at a time; each costs a time, on a clock of its own."""

    def __init__(self) -> None:
        self.time = 0.0
        self.seconds = QUICK
        self.portion = MOST
        self.sizes: list[int] = []

    def read(self, seconds: float, *, times: int = 1) -> None:
        self.seconds = seconds
        for _ in range(times):
            self.portion = handle(memoryview(bytes(self.portion)), self.portion, self.work, lambda: self.time)

    def work(self, data: memoryview) -> None:
        self.sizes.append(len(data))
        self.time += len(data) * self.seconds


def test_bulk_is_read_in_large_portions() -> None:
    bulk = Connection()
    bulk.read(QUICK, times=3)
    assert bulk.sizes == [MOST] * 3


def test_bytes_that_cost_much_are_read_in_small_portions() -> None:
    flood = Connection()
    flood.read(SLOW, times=3)
    first, *later = flood.sizes
    assert first == MOST
    assert later == [pytest.approx(5000, abs=10)] * 2  # 0.5 ms each


def test_portions_have_a_least_size() -> None:
    worst = Connection()
    worst.read(100 * SLOW, times=3)
    assert worst.sizes == [MOST, LEAST, LEAST]


def test_a_part_of_a_record_costs_nothing_yet() -> None:
    parts = Connection()
    parts.read(100 * SLOW)
    parts.read(0.0, times=10)
    assert parts.sizes == [MOST] + [LEAST << power for power in range(8)] + [MOST] * 2
    parts.read(100 * SLOW)
    assert parts.portion == LEAST


def test_what_a_read_costs_by_itself_does_not_keep_portions_small() -> None:
    """A system call costs the same for few bytes."""
    slow_machine = Connection()
    slow_machine.read(100 * SLOW)
    for _ in range(8):
        slow_machine.read(0.2e-3 / slow_machine.portion)
    assert slow_machine.portion == MOST
