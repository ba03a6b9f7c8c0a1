"""How long a client believes in a server that says nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.liveness import DEFAULT_HEARTBEAT, Silence

KERNEL_ALONE = 300.0  # seconds of a silent program that end nothing where only the kernel can be asked


def patience(silence: Silence, since: float, *, can_ask: bool = True) -> float:
    """Return how many seconds after `since` the silence has lasted too long, as the question itself answers it."""
    return next(second for second in range(10_000) if silence.lasts_too_long(since + second, can_ask=can_ask))


def beating(interval: float, beats: int) -> Silence:
    silence = Silence()
    silence.begin(0)
    for beat in range(1, beats + 1):
        silence.beat(beat * interval)
    return silence


def test_a_server_of_default_settings_that_vanishes_is_given_up_within_a_minute() -> None:
    silence = Silence()
    silence.begin(1000)
    assert DEFAULT_HEARTBEAT < patience(silence, 1000) < 60


def test_a_server_that_cannot_be_asked_is_not_given_up_within_five_minutes() -> None:
    silence = Silence()
    silence.begin(1000)
    assert patience(silence, 1000, can_ask=False) > KERNEL_ALONE


@given(st.floats(1, 3600), st.integers(2, 20), st.booleans())
def test_a_heart_that_keeps_beating_is_never_given_up(interval: float, beats: int, can_ask: bool) -> None:  # noqa: FBT001
    silence = beating(interval, beats)
    assert not silence.lasts_too_long((beats + 1) * interval, can_ask=can_ask)
    assert silence.lasts_too_long(beats * interval + silence.limit(can_ask=can_ask) + 1, can_ask=can_ask)


@pytest.mark.parametrize(("can_ask", "limit"), [(True, 20), (False, KERNEL_ALONE)])
def test_a_fast_heart_is_not_believed_to_be_that_regular(limit: float, *, can_ask: bool) -> None:
    assert beating(1, 10).limit(can_ask=can_ask) == limit


def test_a_slow_heart_is_learned() -> None:
    assert 120 < beating(120, 2).limit(can_ask=True) < 240
    assert 600 < beating(600, 2).limit(can_ask=False) < 1200


def test_one_beat_alone_tells_no_interval() -> None:
    """The first comes some time after the handshake: v0.7.2's ticker may have run before."""
    assert beating(500, 1).limit(can_ask=True) == Silence().limit(can_ask=True)


def test_the_longest_interval_counts() -> None:
    silence = Silence()
    silence.begin(0)
    for moment in (100, 200, 201, 202):
        silence.beat(moment)
    assert silence.limit(can_ask=True) > 100


def test_what_was_learned_holds_for_the_next_channel() -> None:
    silence = beating(120, 3)
    silence.begin(1000)
    assert silence.limit(can_ask=True) > 120


@pytest.mark.parametrize("can_ask", [True, False])
def test_a_server_whose_heart_beats_slower_than_expected_is_found_after_a_few_channels(*, can_ask: bool) -> None:
    silence, limits, now = Silence(), [], 0.0
    for _ in range(4):
        silence.begin(now)
        now += silence.limit(can_ask=can_ask) + 1
        limits.append(silence.limit(can_ask=can_ask))
        assert silence.lasts_too_long(now, can_ask=can_ask)
    assert limits == [limits[0] * factor for factor in (1, 2, 4, 8)]


def test_a_server_that_was_heard_gets_no_more_time() -> None:
    silence = beating(40, 3)
    limit = silence.limit(can_ask=True)
    assert silence.lasts_too_long(120 + limit + 1, can_ask=True)
    assert silence.limit(can_ask=True) == limit


@pytest.mark.parametrize("interval", [DEFAULT_HEARTBEAT, 120.0])
def test_a_late_heart_is_asked_about_once_and_in_time_for_an_answer(interval: float) -> None:
    silence = beating(interval, 3)
    last, limit = 3 * interval, silence.limit(can_ask=True)
    assert not silence.doubtful(last + interval)
    assert silence.doubtful(last + 1.15 * interval)
    assert not silence.doubtful(last + 1.2 * interval)
    assert limit > 1.35 * interval


@pytest.mark.parametrize("sign", [Silence.heard, Silence.beat, Silence.begin])
def test_a_sign_of_life_ends_the_doubt(sign: Callable[[Silence, float], None]) -> None:
    silence = Silence()
    silence.begin(0)
    assert silence.doubtful(50)
    sign(silence, 51)
    assert not silence.doubtful(60)
    assert silence.doubtful(110)


def test_whatever_the_server_says_shows_that_it_lives_but_only_its_heart_tells_an_interval() -> None:
    silence = Silence()
    silence.begin(0)
    limit = silence.limit(can_ask=True)
    for moment in (50, 100, 101):
        assert not silence.lasts_too_long(moment, can_ask=True)
        silence.heard(moment)
    assert silence.limit(can_ask=True) == limit
    assert silence.lasts_too_long(101 + limit + 1, can_ask=True)
