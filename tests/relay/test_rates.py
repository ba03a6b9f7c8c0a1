"""Rates that users share in turn."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.clock import Loop

from backhaul.relay.rates import Allowance, Rate, Turn


class User:
    """A user with bytes without end, moved in pieces of ``size`` a millisecond apart at most."""

    def __init__(self, loop: Loop, size: int, *rates: Rate) -> None:
        self.size = size
        self.moved = 0
        self._loop = loop
        self.turn = Turn(rates, self.go)
        self.go()

    def go(self) -> None:
        if self.turn.taken():
            self.moved += self.size
            self.turn.spend(self.size)
            self._loop.call_later(0.001, self.go)


@settings(max_examples=30)
@given(st.integers(10_000, 1_000_000), st.lists(st.integers(100, 5000), min_size=1, max_size=5))
def test_users_together_move_what_the_rate_allows(bytes_a_second: int, sizes: list[int]) -> None:
    loop = Loop()
    rate = Rate(loop, bytes_a_second)
    users = [User(loop, size, rate) for size in sizes]
    loop.run(5.0)
    moved = sum(user.moved for user in users)
    assert moved <= 5 * bytes_a_second + rate.burst + max(sizes)
    # A user offers a piece a millisecond at most.
    assert moved >= 0.9 * min(5 * bytes_a_second, 5000 * sum(sizes))


def test_users_with_pieces_of_one_size_get_equal_parts() -> None:
    loop = Loop()
    rate = Rate(loop, 100_000)
    users = [User(loop, 1000, rate) for _ in range(10)]
    loop.run(10.0)
    assert max(user.moved for user in users) - min(user.moved for user in users) <= 10_000 + rate.burst


def test_every_rate_holds() -> None:
    loop = Loop()
    everybody, source = Rate(loop, 100_000), Rate(loop, 10_000)
    slow, fast = User(loop, 1000, everybody, source), User(loop, 1000, everybody)
    loop.run(10.0)
    assert slow.moved <= 100_000 + source.burst + 1000
    assert slow.moved >= 80_000
    assert fast.moved + slow.moved >= 900_000


def test_many_waiting_users_share_one_timer() -> None:
    loop = Loop()
    rate = Rate(loop, 1)
    for _ in range(100):
        User(loop, 1_000_000, rate)
    assert loop.timers <= 2  # with that of the first user's next piece


def test_a_changed_rate_holds_for_those_who_wait() -> None:
    loop = Loop()
    rate = Rate(loop, 1)
    user = User(loop, 1_000_000, rate)
    loop.run(1.0)
    assert user.moved == 1_000_000
    rate.change(0)
    loop.run(1.01)
    assert user.moved > 5_000_000


def test_a_reload_is_no_reason_for_another_burst() -> None:
    loop = Loop()
    rate = Rate(loop, 100_000)
    user = User(loop, 1000, rate)
    for _ in range(1000):
        loop.run(loop.now + 0.01)
        rate.change(100_000)
    assert user.moved <= 10 * 100_000 + rate.burst + 1000


class Bulk:
    """A user with bytes without end, who moves as many in each turn as they may."""

    def __init__(self, loop: Loop, rate: Rate) -> None:
        self.moved = 0
        self._loop = loop
        self._turn = Turn((rate,), self.go)
        self.go()

    def go(self) -> None:
        if self._turn.taken():
            self.moved += (portion := self._turn.portion)
            self._turn.spend(portion)
            self._loop.call_later(0, self.go)


def test_a_user_with_little_to_send_waits_for_a_packet_of_each_other_one() -> None:
    loop = Loop()
    rate = Rate(loop, 125_000)  # whose burst is 12,500 bytes
    users, came = [Bulk(loop, rate) for _ in range(50)], list[float]()
    loop.run(10.0)
    turn = Turn((rate,), lambda: came.append(loop.now))
    assert not turn.taken()
    loop.run(20.0)
    assert came[0] <= 10.0 + 51 * 1460 / 125_000 + 0.1
    assert 0.9 < min(user.moved for user in users) * 50 / 20 / 125_000 < 1.1


class Datagrams:
    """A flow of small datagrams, ``interval`` seconds apart."""

    def __init__(self, loop: Loop, rate: Rate, size: int, interval: float) -> None:
        self.passed = self.dropped = 0
        self._loop, self._size, self._interval = loop, size, interval
        self._allowance = Allowance((rate,))
        self.go()

    def go(self) -> None:
        if self._allowance.spend(self._size):
            self.passed += 1
        else:
            self.dropped += 1
        self._loop.call_later(self._interval, self.go)


def test_datagrams_below_their_share_pass_beside_users_without_end() -> None:
    loop = Loop()
    rate = Rate(loop, 125_000)
    _ = [Bulk(loop, rate) for _ in range(5)]
    calls = Datagrams(loop, rate, 160, 0.02)  # 8 kB/s
    loop.run(10.0)
    assert calls.passed >= 480
    assert calls.dropped <= 20


def test_a_flood_of_datagrams_gets_the_share_of_one_user() -> None:
    loop = Loop()
    rate = Rate(loop, 125_000)
    users = [Bulk(loop, rate) for _ in range(4)]
    flood = Datagrams(loop, rate, 1000, 0.001)  # 1 MB/s
    loop.run(10.0)
    assert 0.5 < flood.passed * 1000 / (sum(user.moved for user in users) / 4) < 1.5
