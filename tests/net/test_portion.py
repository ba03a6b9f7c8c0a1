"""The size of a connection's next read, by the time that the last one cost."""

from backhaul.net.portion import LEAST, MOST, Portion

QUICK, SLOW = 1e-9, 100e-9  # seconds for each byte


class Costly:
    """Work that takes a time for each byte, on a clock of its own."""

    def __init__(self, seconds: float) -> None:
        self.time = 0.0
        self.seconds = seconds
        self.sizes: list[int] = []

    def work(self, data: memoryview) -> None:
        self.sizes.append(len(data))
        self.time += len(data) * self.seconds

    def read(self, portion: Portion, most: int = MOST) -> None:
        portion.take(memoryview(bytes(min(portion.size, most))), self.work, lambda: self.time)


def test_bulk_is_read_in_large_portions() -> None:
    portion, bulk = Portion(), Costly(QUICK)
    for _ in range(3):
        bulk.read(portion)
    assert bulk.sizes == [MOST] * 3


def test_bytes_that_cost_much_are_read_in_small_portions() -> None:
    portion, flood = Portion(), Costly(SLOW)
    for _ in range(3):
        flood.read(portion)
    assert flood.sizes == [MOST, LEAST, LEAST]


def test_a_part_of_a_record_costs_nothing_yet() -> None:
    portion = Portion()
    Costly(SLOW).read(portion)
    parts = Costly(0.0)
    for _ in range(8):
        parts.read(portion)
    assert parts.sizes == [LEAST << power for power in range(6)] + [MOST] * 2
    Costly(SLOW).read(portion)
    assert portion.size == LEAST


def test_a_few_bytes_tell_little() -> None:
    portion, message = Portion(), Costly(1.0)
    message.read(portion, LEAST - 1)
    assert (message.sizes, portion.size) == ([LEAST - 1], MOST)
