"""The size of the pool, compared with a second implementation of v0.7.2's rule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.pool import ADJUST_EVERY, MOST_EXTRA, PoolSize

COUNTS = st.integers(0, 200)


def rule_of_v072(size: int, configured: int, load: int, idle: int, *, aggressive: bool) -> int:
    """Return the next size, from averages that are rounded up (v0.7.2, client/transport/tcp.go, poolMaintainer)."""
    a, b, x, y = (1, 2, 0, 0.75) if aggressive else (4, 5, 3, 4.0)
    if load + a > idle * b:
        return size + 1
    if load + x < idle * y and size > configured:
        return size - 1
    return size


@given(
    configured=st.integers(1, 50),
    aggressive=st.booleans(),
    rounds=st.lists(st.lists(st.tuples(COUNTS, COUNTS), min_size=ADJUST_EVERY, max_size=ADJUST_EVERY), max_size=4),
)
def test_the_rule_is_applied_every_ten_seconds(
    configured: int,
    aggressive: bool,  # noqa: FBT001 - hypothesis passes it by name
    rounds: list[list[tuple[int, int]]],
) -> None:
    pool = PoolSize(configured, aggressive=aggressive)
    expected = configured
    for seconds in rounds:
        for requests, idle in seconds:
            assert pool.size == expected
            for _ in range(requests):
                pool.requested(idle)
            pool.sample(idle, 0)
        load, idle = (math.ceil(sum(column) / ADJUST_EVERY) for column in zip(*seconds, strict=True))
        expected = rule_of_v072(expected, configured, load, idle, aggressive=aggressive)
    assert pool.size == expected


@given(configured=st.integers(1, 50), idle=COUNTS, opening=COUNTS)
def test_dead_connections_are_replaced(configured: int, idle: int, opening: int) -> None:
    assert PoolSize(configured, aggressive=False).sample(idle, opening) == max(0, configured - idle - opening)


@given(configured=st.integers(1, 50), idle=COUNTS, opening=COUNTS, shared=COUNTS)
def test_sessions_with_users_need_no_replacement(configured: int, idle: int, opening: int, shared: int) -> None:
    pool = PoolSize(configured, aggressive=False)
    assert pool.sample(idle, opening, shared) == max(0, configured - idle - opening - shared)


def test_sessions_with_users_are_no_surplus() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(0, 0, 20)
    assert all(pool.requested(0) for _ in range(100))


def test_requests_are_granted_while_no_more_than_enough_are_idle() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(8, 0)
    assert all(pool.requested(8) for _ in range(1000))


def test_surplus_connections_of_a_whole_second_deny_as_many_requests() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(20, 0)
    pool.sample(20, 0)
    assert [pool.requested(20) for _ in range(14)] == [False] * 12 + [True] * 2


def test_connections_requested_within_the_second_are_no_surplus() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(20, 0)
    pool.requested(3)
    pool.sample(20, 0)
    assert pool.requested(20)


@pytest.mark.parametrize("aggressive", [False, True])
def test_after_the_load_the_pool_shrinks_back_and_no_further(aggressive: bool) -> None:  # noqa: FBT001
    pool = PoolSize(8, aggressive=aggressive)
    for _ in range(5 * ADJUST_EVERY):
        for _ in range(100):
            pool.requested(0)
        pool.sample(0, 0)
    assert pool.size == 13
    for _ in range(20 * ADJUST_EVERY):
        pool.sample(pool.size, 0)
    assert pool.size == 8


def test_no_request_is_denied_once_the_surplus_is_in_use() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(20, 0)
    pool.sample(20, 0)
    assert not pool.requested(20)
    assert all(pool.requested(idle) for idle in (8, 3, 0))


class Scene:
    """A pool, and a server that uses the oldest connections, as v0.7.2 does, or the newest."""

    def __init__(self, dead: int, *, newest_first: bool) -> None:
        self.pool = PoolSize(8, aggressive=False)
        self.idle = ["dead"] * dead  # as the server sees them
        self.used = 0  # dead ones that the server has handed out, and the client keeps
        self._newest_first = newest_first

    @property
    def idle_here(self) -> int:
        """The number of connections that look idle to the client."""
        return len(self.idle) + self.used

    def user(self) -> str:
        """Let the server use a connection; return the outcome of the user."""
        fate = self.idle.pop(-1 if self._newest_first else 0)
        granted = self.pool.requested(self.idle_here + (fate == "served"))
        if fate == "dead":
            self.used += 1
        else:
            self.pool.arrived()
        if granted:
            self.idle.append("served")
        return fate

    def probe(self) -> None:
        """Let the kernel find the dead ones, on both ends."""
        self.idle = [connection for connection in self.idle if connection == "served"]
        self.used = 0

    def seconds(self, count: int) -> None:
        """Let time pass."""
        for _ in range(count):
            self.idle += ["served"] * self.pool.sample(self.idle_here, 0)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_pool_of_dead_connections_recovers(newest_first: bool) -> None:  # noqa: FBT001
    scene = Scene(8, newest_first=newest_first)
    fates = []
    for _ in range(20):
        scene.seconds(4)
        fates.append(scene.user())
    assert fates[8:] == ["served"] * 12
    scene.probe()
    for _ in range(60):
        scene.seconds(4)
        assert scene.user() == "served"
    assert scene.idle_here == 8


def test_every_request_is_granted_while_no_user_arrives() -> None:
    pool, idle = PoolSize(8, aggressive=False), 8
    for _ in range(MOST_EXTRA):
        for _ in range(4):
            assert pool.sample(idle, 0) == 0
        assert pool.requested(idle)
        idle += 1
    assert pool.size == 8


def test_connections_without_arriving_users_are_bounded() -> None:
    pool, idle = PoolSize(8, aggressive=False), 8
    for _ in range(1000):
        pool.sample(idle, 0)
        idle += pool.requested(idle)
    assert idle <= 8 + MOST_EXTRA + 2


def test_a_burst_of_users_is_not_bounded() -> None:
    pool = PoolSize(8, aggressive=False)
    pool.sample(8, 0)
    assert all(pool.requested(8 + number) for number in range(5000))


def test_connections_for_users_who_left_are_dropped_as_others_arrive() -> None:
    scene = Scene(0, newest_first=False)
    for _ in range(50):
        scene.pool.requested(0)
    scene.idle = ["served"] * 50
    for _ in range(200):
        scene.seconds(4)
        scene.user()
    assert scene.idle_here == scene.pool.size == 8
