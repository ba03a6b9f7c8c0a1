"""The size of a connection's next read, by the time that the last one cost."""

from backhaul.net.portion import LEAST, MOST, handle

QUICK, SLOW = 1e-9, 100e-9  # seconds for each byte


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
    assert flood.sizes == [MOST, LEAST, LEAST]


def test_a_part_of_a_record_costs_nothing_yet() -> None:
    parts = Connection()
    parts.read(SLOW)
    parts.read(0.0, times=8)
    assert parts.sizes == [MOST] + [LEAST << power for power in range(6)] + [MOST] * 2
    parts.read(SLOW)
    assert parts.portion == LEAST
