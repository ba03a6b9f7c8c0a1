"""The number of bytes after which connections freeze."""

import logging

import pytest
from tests.support.clock import Clock

from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.carriers.freezes import Freezes

WARNING = "tunnel connections freeze after some 15 kB"
FIRST = 11_250  # three quarters of 15 kB
ONE, OTHER = "one session", "another session"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def freezes(clock: Clock) -> Freezes:
    return Freezes(LogThrottle(logging.getLogger("backhaul.mux")), clock)


@pytest.fixture
def known(freezes: Freezes) -> Freezes:
    """Some that know their limit, from the server to the client."""
    for _ in range(3):
        freezes.froze(ONE, (15_000, 300))
    return freezes


def limit(freezes: Freezes, way: int = 0, session: str = ONE) -> int:
    """Return the number of bytes above which a connection of the session is replaced, or 0."""
    largest = [0, 0]
    largest[way] = 1 << 20
    if not freezes.due(session, largest):
        return 0
    low, high = 0, 1 << 20
    while high - low > 1:
        largest[way] = (low + high) // 2
        low, high = (low, largest[way]) if freezes.due(session, largest) else (largest[way], high)
    return low


@pytest.mark.parametrize("way", [0, 1], ids=["from the server", "to the server"])
def test_three_connections_that_freeze_alike_are_named_and_set_a_limit(
    freezes: Freezes, caplog: pytest.LogCaptureFixture, way: int
) -> None:
    for carried in (15_000, 20_000, 22_500):
        assert not freezes.known
        assert not caplog.text
        assert freezes.froze(ONE, [carried, 300] if way == 0 else [300, carried])
    assert freezes.known
    assert (limit(freezes, way), limit(freezes, 1 - way)) == (FIRST, 0)
    assert WARNING in caplog.text


def test_each_direction_has_its_limit(freezes: Freezes) -> None:
    for _ in range(3):
        freezes.froze(ONE, (15_000, 8_000))
    assert (limit(freezes, 0), limit(freezes, 1)) == (FIRST, 6_000)


def test_sessions_that_become_silent_together_have_lost_their_line(freezes: Freezes) -> None:
    for session in range(20):
        assert freezes.froze(session, (15_000, 15_000))
    assert not freezes.known


def test_a_line_that_breaks_now_and_then_does_not_freeze(freezes: Freezes, clock: Clock) -> None:
    for _ in range(20):
        freezes.froze(ONE, (15_000, 15_000))
        clock.now += 151.0
    assert not freezes.known
    clock.now -= 2.0
    freezes.froze(ONE, (15_000, 15_000))
    assert freezes.known


@pytest.mark.parametrize("between", [15_000, 100, 1 << 20])
def test_a_connection_that_was_replaced_although_it_worked_begins_a_new_count(freezes: Freezes, between: int) -> None:
    for _ in range(20):
        freezes.froze(ONE, (15_000, 0))
        freezes.froze(ONE, (15_000, 0))
        freezes.lasted(ONE, (between, 0))
    assert not freezes.known


def test_an_ended_session_is_forgotten(freezes: Freezes) -> None:
    for _ in range(20):
        freezes.froze(ONE, (15_000, 0))
        freezes.froze(ONE, (15_000, 0))
        freezes.forget(ONE)
        freezes.forget(OTHER)
    assert not freezes.known


def test_freezes_before_a_change_of_the_line_do_not_count(freezes: Freezes) -> None:
    for _ in range(20):
        freezes.froze(ONE, (15_000, 15_000))
        freezes.froze(ONE, (15_000, 15_000))
        freezes.forget_all()
    assert not freezes.known


def test_only_the_last_three_are_compared(freezes: Freezes) -> None:
    for carried in (60_000, 5_000, 15_000, 15_000):
        freezes.froze(ONE, (carried, 0))
        assert not freezes.known
    freezes.froze(ONE, (15_000, 0))
    assert limit(freezes) == FIRST


@pytest.mark.parametrize("carried", [[15_000, 15_000, 22_501], [4_095] * 3, [65_537] * 3, [15_000, 15_000, 1, 15_000]])
def test_others_set_none(freezes: Freezes, carried: list[int]) -> None:
    for each in carried:
        freezes.froze(ONE, (each, 0))
    assert not freezes.known


@pytest.mark.parametrize("carried", [4_095, 65_537])
def test_a_silence_after_few_or_many_bytes_has_another_reason(freezes: Freezes, carried: int) -> None:
    assert not freezes.froze(ONE, (carried, carried))


def test_no_connection_carries_less_than_its_handshakes(freezes: Freezes) -> None:
    for _ in range(3):
        freezes.froze(ONE, (4_100, 0))
    assert limit(freezes) == 4_096


def trial(freezes: Freezes, clock: Clock) -> int:
    """Replace connections at the limit until the session tries twice as much; return the seconds until then."""
    before, seconds = limit(freezes), 0
    while limit(freezes) == before:
        clock.now += 1
        seconds += 1
        freezes.lasted(ONE, (before + 1, 0))
    return seconds


def test_now_and_then_one_session_tries_twice_as_much(known: Freezes, clock: Clock) -> None:
    assert trial(known, clock) == 60
    known.lasted(OTHER, (FIRST + 1, 0))
    assert (limit(known), limit(known, session=OTHER)) == (2 * FIRST, FIRST)


def test_half_of_the_number_is_near_it(known: Freezes) -> None:
    assert not known.near(ONE, (FIRST // 2, 1 << 20))
    assert known.near(ONE, (FIRST // 2 + 1, 0))


def test_nothing_is_near_a_number_that_is_not_certain(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    assert not known.near(ONE, (2 * FIRST, 0))
    assert known.near(OTHER, (FIRST // 2 + 1, 0))
    known.lasted(ONE, (2 * FIRST + 1, 0))
    assert not known.near(OTHER, (2 * FIRST, 0))


def test_more_for_one_session_is_more_for_all_and_tried_again_at_once(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    known.lasted(ONE, (2 * FIRST + 1, 0))
    assert limit(known, session=OTHER) == 2 * FIRST + 1
    known.lasted(OTHER, (2 * FIRST + 2, 0))
    assert (limit(known), limit(known, session=OTHER)) == (2 * FIRST + 1, 2 * (2 * FIRST + 1))


def test_an_ended_session_leaves_the_trial_to_the_next(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    known.forget(ONE)
    assert limit(known) == FIRST
    known.lasted(OTHER, (FIRST + 1, 0))
    assert limit(known, session=OTHER) == 2 * FIRST


def test_a_change_of_the_line_ends_the_trial(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    known.forget_all()
    assert limit(known) == FIRST


def test_the_end_of_another_session_does_not_end_the_trial(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    known.forget(OTHER)
    known.froze(OTHER, (15_000, 0))
    assert (limit(known), limit(known, session=OTHER)) == (2 * FIRST, FIRST)


def test_connections_that_were_replaced_for_another_reason_are_no_trial(known: Freezes, clock: Clock) -> None:
    clock.now += 100
    known.lasted(ONE, (FIRST, 0))
    assert limit(known) == FIRST


def test_a_failed_trial_is_repeated_later_without_a_word(
    known: Freezes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    for seconds in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        assert trial(known, clock) == seconds
        known.froze(ONE, (15_000, 0))
        assert limit(known) == FIRST
    assert not caplog.text


def test_on_another_line_more_is_tried_soon(known: Freezes, clock: Clock) -> None:
    for _ in range(8):
        trial(known, clock)
        known.froze(ONE, (15_000, 0))
    known.forget_all()
    assert trial(known, clock) == 60
    known.froze(ONE, (15_000, 0))
    clock.now += 100
    known.forget_all()
    assert trial(known, clock) == 20


def test_an_outage_does_not_lower_the_limit(known: Freezes, clock: Clock) -> None:
    for session in range(20):
        known.froze(session, (5_000, 0))
    assert limit(known) == FIRST
    assert trial(known, clock) == 60
    known.froze(ONE, (5_000, 0))
    assert limit(known) == FIRST


def test_three_connections_that_freeze_earlier_lower_the_limit(known: Freezes) -> None:
    for _ in range(3):
        assert limit(known) == FIRST
        known.froze(ONE, (8_000, 0))
    assert limit(known) == 6_000


def test_a_silence_after_more_bytes_changes_nothing(known: Freezes, clock: Clock) -> None:
    for _ in range(3):
        known.froze(ONE, (18_000, 0))
    assert limit(known) == FIRST
    assert trial(known, clock) == 60
    known.froze(ONE, (2 * FIRST, 0))
    assert limit(known) == 2 * FIRST


def test_a_limit_that_was_never_reached_is_forgotten(known: Freezes, clock: Clock) -> None:
    trial(known, clock)
    for _ in range(3):
        known.lasted(ONE, (limit(known) + 1, 0))
        known.lasted(ONE, (limit(known) + 1, 0))
    assert not known.known
    known.froze(ONE, (15_000, 0))
    assert not known.known


def test_a_connection_that_carried_much_more_refutes_the_limit(known: Freezes) -> None:
    known.lasted(ONE, (2 * FIRST, 0))
    assert limit(known) == FIRST
    known.lasted(ONE, (2 * FIRST + 1, 0))
    assert limit(known) == 2 * FIRST + 1
    known.froze(ONE, (15_000, 0))
    assert limit(known) == FIRST
    known.lasted(ONE, (65_537, 0))
    assert not known.known
