"""Rates that users share in turn."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.clock import Loop

from backhaul.relay.rates import Rate, Turn


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
