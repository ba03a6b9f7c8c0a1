"""The bytes that a socket does not take, with a pair of sockets."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import pytest

from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.backlog import Backlog
from backhaul.relay.budget import Budget
from backhaul.relay.reclaimer import Tide

LIMIT = 1 << 20


class Holder:
    def __init__(self, budget: Budget, owner: str = "one", part: str = "") -> None:
        self.owner = owner
        self.backlog = Backlog(budget, self, part)
        self.resets = 0

    def over_budget(self) -> None:
        self.resets += 1
        self.backlog.drop()


@pytest.fixture
def budget() -> Budget:
    return Budget(LIMIT, LogThrottle(logging.getLogger("backhaul")), Tide(LIMIT, lambda: None))


@pytest.fixture
def holder(budget: Budget) -> Holder:
    return Holder(budget)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield a socket that never waits, and its peer."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def test_bytes_leave_in_their_order(budget: Budget, holder: Holder, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    data = bytes(range(256)) * 2048
    for start in range(0, len(data), 1000):
        holder.backlog.add(memoryview(data)[start : start + 1000])
    received = bytearray()
    while len(received) < len(data):
        before = holder.backlog.size
        assert budget.held == before
        if before:
            assert holder.backlog.send(near) == before - holder.backlog.size
        received += far.recv(1 << 16)
    assert (bytes(received), budget.held) == (data, 0)


def test_a_full_socket_takes_nothing(budget: Budget, holder: Holder, pair: tuple[socket.socket, socket.socket]) -> None:
    near, _ = pair
    with contextlib.suppress(BlockingIOError):
        while True:
            near.send(bytes(1 << 16))
    holder.backlog.add(b"later")
    assert holder.backlog.send(near) == 0
    assert (holder.backlog.size, budget.held) == (5, 5)


def test_a_broken_socket_raises(budget: Budget, holder: Holder, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    far.close()
    holder.backlog.add(b"never")
    with pytest.raises(BrokenPipeError):
        holder.backlog.send(near)
    assert budget.held == 5


def test_the_largest_backlog_is_dropped_first(budget: Budget, holder: Holder) -> None:
    other = Holder(budget)
    other.backlog.add(bytes(LIMIT - 1))
    holder.backlog.add(b"ab")
    assert (holder.resets, other.resets, budget.held) == (0, 1, 2)


def test_the_owner_that_has_most_loses_its_largest_first(budget: Budget, holder: Holder) -> None:
    others = [Holder(budget, "other") for _ in range(100)]
    holder.backlog.add(bytes(LIMIT // 8))
    for number, other in enumerate(others):
        other.backlog.add(bytes(LIMIT // 100 + number))
    assert budget.held <= LIMIT
    assert holder.resets == 0
    assert 12 < sum(other.resets for other in others) < 20


def test_the_part_of_the_owner_that_has_most_loses_its_largest_first(budget: Budget, holder: Holder) -> None:
    large, small = Holder(budget, "other", "22"), Holder(budget, "third", "22")
    torrents = [Holder(budget, "other", "6881") for _ in range(100)]
    large.backlog.add(bytes(LIMIT // 4))
    small.backlog.add(bytes(LIMIT // 8))
    holder.backlog.add(bytes(LIMIT // 4))
    for torrent in torrents:
        torrent.backlog.add(bytes(LIMIT // 100))
    assert budget.held <= LIMIT
    assert large.resets == holder.resets == small.resets == 0
    assert sum(torrent.resets for torrent in torrents)


def test_a_reset_that_ends_others_leaves_them_alone(budget: Budget) -> None:
    class Twin(Holder):
        def over_budget(self) -> None:
            super().over_budget()
            last.backlog.drop()

    last = Holder(budget)
    last.backlog.add(bytes(LIMIT // 2))
    twin = Twin(budget)
    twin.backlog.add(bytes(LIMIT // 2 + 1))
    assert (twin.resets, last.resets, budget.held) == (1, 0, 0)


def test_a_reset_that_grows_others_goes_on(budget: Budget) -> None:
    class Growing(Holder):
        def over_budget(self) -> None:
            super().over_budget()
            last.backlog.add(bytes(LIMIT))

    last = Holder(budget)
    last.backlog.add(b"a")
    growing = Growing(budget)
    growing.backlog.add(bytes(LIMIT))
    assert (growing.resets, last.resets, budget.held) == (1, 1, 0)


def test_a_backlog_may_be_dropped_while_it_grows(budget: Budget, holder: Holder) -> None:
    holder.backlog.add(bytes(LIMIT + 1))
    assert (holder.resets, budget.held) == (1, 0)


@pytest.mark.parametrize("sent", range(8))
def test_pieces_are_kept_from_where_the_socket_stopped(
    holder: Holder, pair: tuple[socket.socket, socket.socket], sent: int
) -> None:
    near, far = pair
    holder.backlog.add(b"first ")
    holder.backlog.add_rest([b"abc", b"", memoryview(b"def"), b"g"], sent)
    assert holder.backlog.size == len("first ") + 7 - sent
    holder.backlog.send(near)
    assert far.recv(99) == b"first " + b"abcdefg"[sent:]
