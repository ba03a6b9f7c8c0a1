"""The client's notice of pauses in which its process did not run."""

from tests.support.net import until

from backhaul.tunnel.naps import Naps


def test_looks_at_short_intervals_are_no_sleep() -> None:
    times = iter((0, 1, 2, 6))
    naps = Naps(5, lambda: next(times))
    assert not any(naps.woke() for _ in range(3))


def test_a_sleep_is_noticed_once() -> None:
    times = iter((0, 100, 101))
    naps = Naps(5, lambda: next(times))
    assert [naps.woke(), naps.woke()] == [True, False]


def test_time_before_the_beginning_is_no_sleep() -> None:
    times = iter((0, 100, 101))
    naps = Naps(5, lambda: next(times))
    naps.begin()
    assert not naps.woke()


async def test_the_clock_of_the_machine_advances() -> None:
    await until(Naps(0).woke)
