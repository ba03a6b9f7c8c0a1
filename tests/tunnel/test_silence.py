"""How long a client believes in a server that says nothing."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.silence import DEFAULT_HEARTBEAT, Silence


def patience(silence: Silence, since: float) -> float:
    """Return how many seconds after `since` the silence has lasted too long, as the question itself answers it."""
    return next(second for second in range(10_000) if silence.lasts_too_long(since + second))


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


@given(st.floats(1, 3600), st.integers(2, 20))
def test_a_heart_that_keeps_beating_is_never_given_up(interval: float, beats: int) -> None:
    silence = beating(interval, beats)
    assert not silence.lasts_too_long((beats + 1) * interval)
    assert silence.lasts_too_long(beats * interval + silence.limit + 1)


def test_a_fast_heart_is_not_believed_to_be_that_regular() -> None:
    assert beating(1, 10).limit == 20


def test_a_slow_heart_is_learned() -> None:
    assert 120 < beating(120, 2).limit < 240


def test_one_beat_alone_tells_no_interval() -> None:
    """The first comes some time after the handshake: v0.7.2's ticker may have run before."""
    assert beating(500, 1).limit == Silence().limit


def test_the_longest_interval_counts() -> None:
    silence = Silence()
    silence.begin(0)
    for moment in (100, 200, 201, 202):
        silence.beat(moment)
    assert silence.limit > 100


def test_what_was_learned_holds_for_the_next_channel() -> None:
    silence = beating(120, 3)
    silence.begin(1000)
    assert silence.limit > 120


def test_a_server_whose_heart_beats_slower_than_expected_is_found_after_a_few_channels() -> None:
    silence, limits, now = Silence(), [], 0.0
    for _ in range(4):
        silence.begin(now)
        now += silence.limit + 1
        limits.append(silence.limit)
        assert silence.lasts_too_long(now)
    assert limits == [limits[0] * factor for factor in (1, 2, 4, 8)]


def test_a_server_that_was_heard_gets_no_more_time() -> None:
    silence = beating(40, 3)
    limit = silence.limit
    assert silence.lasts_too_long(120 + limit + 1)
    assert silence.limit == limit


def test_a_late_heart_is_asked_about_once_and_in_time_for_an_answer() -> None:
    silence = Silence()
    silence.begin(0)
    assert not silence.doubtful(DEFAULT_HEARTBEAT)
    assert silence.doubtful(DEFAULT_HEARTBEAT + 6)
    assert not silence.doubtful(DEFAULT_HEARTBEAT + 7)
    assert silence.limit > DEFAULT_HEARTBEAT + 10


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
    limit = silence.limit
    for moment in (50, 100, 101):
        assert not silence.lasts_too_long(moment)
        silence.heard(moment)
    assert silence.limit == limit
    assert silence.lasts_too_long(101 + limit + 1)
