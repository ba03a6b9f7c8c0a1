"""The client's watch over sessions whose connections freeze."""

import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.session_watch import PATIENCE, Session, Stand, standing

from backhaul.transports.carriers.watch import Cause

DOUBT = 0.5  # seconds


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


def replace(stand: Stand, cause: Cause, seconds: float = 0.1) -> None:
    """Give the session another connection, which took some seconds."""
    link: Any = stand.link
    carried, link.carried, link.unacknowledged = link.carried, (0, 0), 0
    stand.watch.replaced(link, cause, carried, seconds)
    stand.reconnect()


def freeze(stand: Stand, patience: float = PATIENCE) -> None:
    """Let a connection become silent after 15 kB, and give the session another one."""
    stand.link.carried, stand.link.unacknowledged = (15_000, 300), 1
    assert stand.wanted(patience - 0.1) == set()
    assert stand.wanted(1) == {Cause.SILENT}
    replace(stand, Cause.SILENT)


def freeze_thrice(stand: Stand) -> None:
    """Let connections become silent until they are known to freeze; after the first one, another is likely to."""
    for patience in (PATIENCE, DOUBT, DOUBT):
        freeze(stand, patience)


def test_connections_that_freeze_after_some_bytes_are_replaced_ahead_of_it(stand: Stand) -> None:
    for patience in (PATIENCE, DOUBT, DOUBT):
        stand.link.carried = 11_251, 0
        assert stand.wanted(1) == set()
        freeze(stand, patience)
    stand.link.carried = 11_250, 1 << 20
    assert stand.wanted(1) == set()
    stand.link.carried = 11_251, 0
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}


def looks(stand: Stand, seconds: float) -> int:
    """Return the number of looks within some seconds."""
    count, end = 0, stand.loop.now + seconds
    while stand.loop.now < end:
        stand.loop.run_next()
        count += 1
    return count


def test_sessions_are_looked_at_less_often_while_nothing_moves(stand: Stand) -> None:
    freeze_thrice(stand)
    stand.loop.run_for(10)
    idle = looks(stand, 10)
    stand.link.carried = 1000, 0
    stand.loop.run_for(stand.patience.look)
    assert looks(stand, 1) > 4 * idle / 10
    stand.loop.run_for(10)
    assert looks(stand, 10) <= idle + 1


def test_a_mere_suspicion_costs_no_more_looks_while_bytes_move(stand: Stand) -> None:
    freeze(stand)
    idle = looks(stand, 5)
    stand.link.carried = 1000, 0
    assert looks(stand, 5) <= idle + 1


def test_a_silent_connection_whose_successor_took_long_was_part_of_an_outage(stand: Stand) -> None:
    for factor in (1, 2, 4, 8):
        stand.link.carried, stand.link.unacknowledged = (15_000, 300), 1
        assert stand.wanted(factor * PATIENCE) == set()
        assert stand.wanted(1) == {Cause.SILENT}
        replace(stand, Cause.SILENT, PATIENCE + 0.1)
    stand.link.carried = 11_251, 0
    assert stand.wanted(60) == set()


def test_an_outage_begins_a_new_count(stand: Stand) -> None:
    freeze(stand)
    freeze(stand, DOUBT)
    stand.link.carried, stand.link.unacknowledged = (15_000, 300), 1
    assert stand.wanted(PATIENCE + 1) == {Cause.SILENT}
    replace(stand, Cause.SILENT, PATIENCE + 0.1)
    stand.link.signs += 1  # and the next connection works at first
    stand.loop.run_for(stand.patience.look)
    freeze(stand)
    stand.link.carried = 11_251, 0
    assert stand.wanted(60) == set()


def test_connections_that_are_silent_together_with_the_control_channel_do_not_freeze(stand: Stand) -> None:
    for _ in range(4):
        freeze(stand)
        stand.watch.look()
    stand.link.carried = 11_251, 0
    assert stand.wanted(60) == set()


def test_a_connection_that_moves_on_proves_that_connections_do_not_freeze(stand: Stand) -> None:
    freeze_thrice(stand)
    stand.link.carried = 1 << 20, 0
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}
    replace(stand, Cause.ROTATION)
    stand.link.carried = 11_251, 0
    assert stand.wanted(60) == set()


def test_a_silence_without_a_freeze_gets_twice_as_long_and_one_with_it_does_not(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    stand.loop.run_for(PATIENCE + 1)
    replace(stand, Cause.SILENT)
    stand.link.carried, stand.link.unacknowledged = (15_000, 0), 1
    assert stand.wanted(2 * PATIENCE) == set()
    stand.loop.run_for(1)
    replace(stand, Cause.SILENT)
    stand.link.unacknowledged = 1
    assert stand.wanted(2 * PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


def test_an_ended_session_takes_no_memory(stand: Stand) -> None:
    freeze(stand)
    ended = weakref.ref(stand.link)
    stand.link.closed = True
    stand.loop.run_for(1)
    stand.link = Session(stand.link.conn)
    assert ended() is None


def test_nothing_is_learned_from_a_session_that_has_ended(stand: Stand) -> None:
    stand.link.closed = True
    stand.loop.run_for(1)
    for _ in range(3):
        stand.link.carried = 15_000, 0
        replace(stand, Cause.SILENT)
    stand.link = Session(stand.link.conn, carried=(11_251, 0))
    stand.begin()
    assert stand.wanted(60) == set()


def test_a_session_that_tries_more_waits_for_the_silence_that_shows_its_freeze(stand: Stand) -> None:
    freeze_thrice(stand)
    stand.loop.run_for(60)
    stand.link.streams, stand.link.carried = 1, (11_251, 0)
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}
    replace(stand, Cause.ROTATION)
    stand.link.received += 15_000
    freeze(stand)
    stand.link.carried = 11_251, 0
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}


def test_a_connection_that_nears_the_number_and_becomes_silent_is_replaced_soon(stand: Stand) -> None:
    """What a firewall has counted may be more than what has arrived."""
    freeze_thrice(stand)
    stand.link.carried = 5_626, 0  # more than half
    assert stand.wanted(60) == set()  # nobody waits for anything
    stand.link.streams, stand.link.received = 1, 400
    assert stand.wanted(0.3) == set()
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}
    stand.link.carried = 5_625, 0
    assert stand.wanted(PATIENCE) == set()


def test_the_first_silence_after_a_freeze_is_waited_for_shortly_if_as_much_was_carried(stand: Stand) -> None:
    freeze(stand)
    for carried in ((22_501, 300), (9_999, 199)):
        stand.link.carried, stand.link.unacknowledged, stand.link.signs = carried, 1, stand.link.signs + 1
        assert stand.wanted(PATIENCE) == set()
        stand.link.unacknowledged = 0
        assert stand.wanted(1) == set()
    freeze(stand, DOUBT)


def test_a_freeze_makes_others_likely_for_a_minute(stand: Stand) -> None:
    freeze(stand)
    stand.loop.run_for(60)
    freeze(stand, PATIENCE - stand.patience.look)


def test_a_busy_server_has_more_time_although_a_freeze_is_likely(stand: Stand) -> None:
    freeze(stand)
    stand.link.unacknowledged = 1
    assert stand.wanted(1.5) == set()
    stand.link.signs += 1  # it was busy until now
    stand.loop.run_for(0.1)
    freeze(stand, PATIENCE)


def asked(stand: Stand) -> int:
    """Return how often the server was asked for an acknowledgement."""
    return stand.link.asked


@pytest.mark.parametrize(
    ("carried", "seconds"),
    [
        ((15_000, 0), DOUBT),
        ((4_096, 0), DOUBT),
        ((65_536, 1 << 20), DOUBT),
        ((4_095, 15_000), PATIENCE),
        ((65_537, 15_000), PATIENCE),
    ],
)
def test_a_silent_server_is_asked_soon_if_its_connection_may_have_frozen(
    stand: Stand, carried: tuple[int, int], seconds: float
) -> None:
    stand.link.carried, stand.link.streams, stand.link.received = carried, 1, stand.link.received + 1
    stand.loop.run_for(seconds)
    assert asked(stand) == 0
    stand.loop.run_for(2 * stand.patience.look)
    assert asked(stand) == 1


def test_a_silent_server_is_asked_at_once_if_a_freeze_is_likely(stand: Stand) -> None:
    freeze(stand)
    stand.link.carried, stand.link.streams, stand.link.received = (15_000, 300), 1, stand.link.received + 1
    stand.loop.run_for(0.3)
    assert asked(stand) == 0
    stand.loop.run_for(0.2)
    assert asked(stand) == 1
