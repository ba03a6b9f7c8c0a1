"""The client's limit for the silence of its server."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.liveness import DEFAULT_HEARTBEAT, Liveness
from backhaul.tunnel.timings import Timings

KERNEL_ALONE = 300.0  # seconds of a silent program that end nothing where only the kernel can be asked


def patience(liveness: Liveness, since: float, *, can_ask: bool = True) -> float:
    """Return how many seconds after ``since`` the silence has lasted too long, as the question itself answers it."""
    return next(second for second in range(10_000) if liveness.lasts_too_long(since + second, can_ask=can_ask))


def beating(interval: float, beats: int) -> Liveness:
    liveness = Liveness()
    liveness.begin(0)
    for beat in range(1, beats + 1):
        liveness.beat(beat * interval)
    return liveness


def test_a_server_of_default_settings_that_vanishes_is_given_up_within_a_minute() -> None:
    liveness = Liveness()
    liveness.begin(1000)
    assert DEFAULT_HEARTBEAT < patience(liveness, 1000) < 60


def test_a_server_that_cannot_be_asked_is_not_given_up_within_five_minutes() -> None:
    liveness = Liveness()
    liveness.begin(1000)
    assert patience(liveness, 1000, can_ask=False) > KERNEL_ALONE


@given(st.floats(1, 3600), st.integers(2, 20), st.booleans())
def test_a_server_with_regular_heartbeats_is_never_given_up(interval: float, beats: int, can_ask: bool) -> None:  # noqa: FBT001
    liveness = beating(interval, beats)
    assert not liveness.lasts_too_long((beats + 1) * interval, can_ask=can_ask)
    assert liveness.lasts_too_long(beats * interval + liveness.limit(can_ask=can_ask) + 1, can_ask=can_ask)


@pytest.mark.parametrize(("can_ask", "limit"), [(True, 20), (False, KERNEL_ALONE)])
def test_a_short_interval_has_a_least_limit(limit: float, *, can_ask: bool) -> None:
    assert beating(1, 10).limit(can_ask=can_ask) == limit


def test_a_long_interval_is_learned() -> None:
    assert 120 < beating(120, 2).limit(can_ask=True) < 240
    assert 600 < beating(600, 2).limit(can_ask=False) < 1200


def test_a_single_heartbeat_gives_no_interval() -> None:
    """The first heartbeat arrives any time after the handshake, because v0.7.2's ticker may have started before."""
    assert beating(500, 1).limit(can_ask=True) == Liveness().limit(can_ask=True)


def test_the_longest_interval_counts() -> None:
    liveness = Liveness()
    liveness.begin(0)
    for moment in (100, 200, 201, 202):
        liveness.beat(moment)
    assert liveness.limit(can_ask=True) > 100


def test_the_learned_interval_holds_for_the_next_channel() -> None:
    liveness = beating(120, 3)
    liveness.begin(1000)
    assert liveness.limit(can_ask=True) > 120


@pytest.mark.parametrize("can_ask", [True, False])
def test_an_interval_longer_than_expected_is_learned_after_a_few_channels(*, can_ask: bool) -> None:
    liveness, limits, now = Liveness(), [], 0.0
    for _ in range(4):
        liveness.begin(now)
        now += liveness.limit(can_ask=can_ask) + 1
        limits.append(liveness.limit(can_ask=can_ask))
        assert liveness.lasts_too_long(now, can_ask=can_ask)
    assert limits == [limits[0] * factor for factor in (1, 2, 4, 8)]


def test_a_server_that_has_sent_something_gets_no_more_time() -> None:
    liveness = beating(40, 3)
    limit = liveness.limit(can_ask=True)
    assert liveness.lasts_too_long(120 + limit + 1, can_ask=True)
    assert liveness.limit(can_ask=True) == limit


@pytest.mark.parametrize("interval", [DEFAULT_HEARTBEAT, 120.0])
def test_a_late_server_is_asked_once_and_in_time_for_an_answer(interval: float) -> None:
    liveness = beating(interval, 3)
    last, limit = 3 * interval, liveness.limit(can_ask=True)
    assert not liveness.doubtful(last + interval)
    assert liveness.doubtful(last + 1.15 * interval)
    assert not liveness.doubtful(last + 1.2 * interval)
    assert limit > 1.35 * interval


@pytest.mark.parametrize("sign", [Liveness.alive, Liveness.beat, Liveness.begin])
def test_a_sign_of_life_ends_the_doubt(sign: Callable[[Liveness, float], None]) -> None:
    liveness = Liveness()
    liveness.begin(0)
    assert liveness.doubtful(50)
    sign(liveness, 51)
    assert not liveness.doubtful(60)
    assert liveness.doubtful(110)


def test_a_suspected_server_is_asked_once() -> None:
    liveness, patience = Liveness(), Timings().suspicion
    liveness.begin(0)
    assert liveness.suspect(10)
    assert not liveness.suspect(10 + patience / 2)
    assert liveness.silent_for(10 + patience) == 10 + patience


def answering(*delays: float) -> Liveness:
    """Return the liveness of a server whose answers have taken so long."""
    liveness = Liveness()
    liveness.begin(0)
    for moment, delay in zip(range(0, 1000, 100), delays, strict=False):
        liveness.suspect(moment)
        liveness.alive(moment + delay)
    return liveness


def test_a_fast_server_gets_the_usual_time_for_its_answer() -> None:
    assert answering(0.1, 0.2).patience == Timings().suspicion


def test_a_slow_server_gets_more_time_for_its_answer() -> None:
    assert answering(1.5, 2.0).patience == 4.0


def test_the_end_of_an_outage_counts_as_a_slow_answer() -> None:
    assert answering(40.0).patience == answering(5.0).patience


def test_a_server_that_is_fast_again_gets_the_usual_time_soon() -> None:
    assert answering(5.0, *[0.1] * 10).patience == Timings().suspicion


def test_an_answer_ends_the_suspicion() -> None:
    liveness = Liveness()
    liveness.begin(0)
    liveness.suspect(10)
    liveness.alive(11)
    assert not liveness.suspicious
    assert not liveness.lasts_too_long(20, can_ask=True)
    assert liveness.suspect(21)


def test_any_message_is_a_sign_of_life_but_only_heartbeats_give_an_interval() -> None:
    liveness = Liveness()
    liveness.begin(0)
    limit = liveness.limit(can_ask=True)
    for moment in (50, 100, 101):
        assert not liveness.lasts_too_long(moment, can_ask=True)
        liveness.alive(moment)
    assert liveness.limit(can_ask=True) == limit
    assert liveness.lasts_too_long(101 + limit + 1, can_ask=True)
