"""The two clocks, with the numbers of v0.7.2 (20 s and 40 s) unless a test sets others."""

from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.smux.keepalive import Keepalive


def keepalive(now: float = 0.0) -> Keepalive:
    return Keepalive(20.0, 40.0, now)


def test_the_first_nop_comes_one_interval_after_the_start() -> None:
    clock = keepalive(now=100.0)
    assert clock.deadline == 120.0
    assert [clock.nop_due(now) for now in (100.0, 119.9, 120.0, 120.1, 139.9, 140.0)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_missed_beats_are_not_made_up_for_and_keep_their_phase() -> None:
    clock = keepalive()
    assert clock.nop_due(95.0)
    assert not clock.nop_due(99.9)
    assert clock.nop_due(100.0)


def test_a_peer_that_never_sent_anything_is_dead_after_one_timeout() -> None:
    clock = keepalive()
    assert not clock.is_dead(39.9, reading=True)
    assert clock.is_dead(40.0, reading=True)


def test_a_peer_that_fell_silent_is_dead_between_one_and_two_timeouts() -> None:
    clock = keepalive()
    clock.received = True
    assert not clock.is_dead(40.0, reading=True)
    assert not clock.is_dead(79.9, reading=True)
    assert clock.is_dead(80.0, reading=True)


def test_silence_proves_nothing_while_this_end_does_not_read() -> None:
    clock = keepalive()
    assert not clock.is_dead(40.0, reading=False)
    assert not clock.is_dead(79.9, reading=True)
    assert clock.is_dead(80.0, reading=True)


def test_the_deadline_is_the_earlier_of_the_two() -> None:
    clock = Keepalive(30.0, 40.0, 0.0)
    clock.nop_due(30.0)
    assert clock.deadline == 40.0
    clock.is_dead(40.0, reading=False)
    assert clock.deadline == 60.0


@given(st.lists(st.floats(0.001, 1e6), max_size=50))
def test_doing_what_is_due_always_moves_the_deadline_past_now(pauses: list[float]) -> None:
    clock, now = keepalive(), 0.0
    for pause in pauses:
        now += pause
        clock.nop_due(now)
        clock.is_dead(now, reading=False)
        assert clock.deadline > now


def test_both_clocks_can_be_restarted() -> None:
    clock = keepalive()
    clock.received = True
    clock.restart(95.0)
    assert not clock.nop_due(114.9)
    assert clock.nop_due(115.0)
    assert not clock.is_dead(134.9, reading=True)
    assert clock.is_dead(135.0, reading=True)


def test_the_next_nop_may_come_early() -> None:
    clock = Keepalive(interval=20.0, timeout=40.0, now=100.0)
    assert clock.nop_due(120.0, share=0.6)
    assert not clock.nop_due(131.9)
    assert clock.nop_due(132.0)
    assert not clock.nop_due(151.9)
