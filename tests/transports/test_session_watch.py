"""The client's watch over its sessions: the connections that it replaces."""

from collections.abc import Iterator

import pytest
from tests.support.session_watch import PATIENCE, Session, Stand, standing, until_readable

from backhaul.net.tcp_info import TcpInfo
from backhaul.transports.carriers.watch import Cause

JITTER = 0.2


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


def test_a_session_without_acknowledgements_wants_another_connection(stand: Stand) -> None:
    assert stand.wanted(60) == set()
    stand.link.unacknowledged = 1
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}
    stand.link.unacknowledged = 0
    assert stand.wanted(60) == set()


def test_late_acknowledgements_of_a_busy_server_lengthen_the_patience_for_a_while(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    for _ in range(5):  # each takes 3 seconds, which is more than the first patience
        stand.loop.run_for(3)
        stand.link.signs += 1
        stand.loop.run_for(stand.patience.look)
    assert stand.wanted(3) == set()
    stand.link.unacknowledged = 0
    stand.loop.run_for(60)
    stand.link.unacknowledged = 1
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


def test_an_acknowledgement_after_an_outage_counts_for_some_seconds_only(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    stand.loop.run_for(300)
    stand.link.signs += 1
    stand.loop.run_for(stand.patience.look)
    assert stand.wanted(11) == {Cause.SILENT}


def test_an_acknowledgement_that_was_late_because_the_line_was_down_changes_no_patience(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.link.unacknowledged = 1
    with monkeypatch.context() as patch:
        patch.setattr(TcpInfo, "of", lambda _: TcpInfo(in_vain=1))  # which takes seconds without packets
        stand.loop.run_for(3)
    stand.link.signs += 1
    stand.loop.run_for(stand.patience.look)
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


def test_an_end_that_has_not_read_yet_can_not_tell(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    stand.server.send(b"an acknowledgement")
    until_readable(stand.link.conn)
    assert stand.wanted(60) == set()
    stand.link.conn.recv(100)
    assert stand.wanted(1) == {Cause.SILENT}


def test_each_connection_in_vain_gets_twice_as_long(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    for factor in (1, 2, 4, 8, 16, 32, 32):
        assert stand.wanted(factor * PATIENCE) == set()
        assert stand.wanted(2) == {Cause.SILENT}
        stand.reconnect()


def test_a_connection_that_worked_changes_no_patience(stand: Stand) -> None:
    stand.reconnect()
    stand.link.unacknowledged = 1
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


def test_without_limits_no_connection_is_replaced(stand: Stand) -> None:
    stand.link.sent += 1 << 40
    assert stand.wanted(60) == set()


def test_a_sign_of_life_ends_the_longer_patience(stand: Stand) -> None:
    stand.link.unacknowledged = 1
    stand.loop.run_for(PATIENCE + 1)
    stand.reconnect()
    stand.link.signs += 1
    stand.loop.run_for(stand.patience.look)
    stand.reconnect()
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


def test_an_end_that_reads_nothing_can_not_tell(stand: Stand) -> None:
    stand.link.unacknowledged, stand.link.paused = 1, True
    assert stand.wanted(60) == set()
    stand.link.paused = False
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}


@pytest.mark.parametrize("mark", ["kept", "parked"])
def test_sessions_that_can_not_be_resumed_now_are_left_alone(stand: Stand, mark: str) -> None:
    stand.link.unacknowledged, stand.link.streams = 1, 1
    setattr(stand.link, mark, not getattr(stand.link, mark))
    assert stand.wanted(60) == set()
    assert stand.link.asked == 0


def test_a_silent_session_with_users_is_asked_once(stand: Stand) -> None:
    stand.loop.run_for(60)
    assert stand.link.asked == 0
    stand.link.streams = 1
    stand.loop.run_for(60)
    assert stand.link.asked == 1
    stand.link.received += 1
    stand.loop.run_for(PATIENCE)
    assert stand.link.asked == 1
    stand.loop.run_for(1)
    assert stand.link.asked == 2


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_connection_is_replaced_after_some_bytes(stand: Stand, direction: str) -> None:
    stand.resumption.max_bytes = 1000
    setattr(stand.link, direction, getattr(stand.link, direction) + int(1000 * (1 - JITTER)))
    assert stand.wanted(60) == set()
    setattr(stand.link, direction, getattr(stand.link, direction) + int(1000 * 2 * JITTER) + 1)
    assert stand.wanted(1) == {Cause.ROTATION}


def test_a_connection_is_replaced_after_some_time_although_its_server_was_asked(stand: Stand) -> None:
    stand.resumption.max_age, stand.link.streams = 100, 1
    assert stand.wanted(100 * (1 - JITTER)) == set()
    assert stand.wanted(100 * 2 * JITTER + 1) == {Cause.ROTATION}
    stand.reconnect()
    assert stand.wanted(100 * (1 - JITTER)) == set()


def test_connections_are_not_replaced_together(stand: Stand) -> None:
    stand.resumption.max_age = 100
    links = [Session(stand.link.conn) for _ in range(50)]
    for stand.link in links:
        stand.begin()
    stand.loop.run_for(100)
    assert 0 < len(stand.wants) < len(links) * 100 * JITTER / stand.patience.look


def test_nothing_is_looked_at_after_the_last_session(stand: Stand) -> None:
    stand.link.closed = True
    stand.loop.run_for(1)
    assert stand.loop.waiting == 0
    stand.link = Session(stand.link.conn, unacknowledged=1)
    stand.begin()
    assert stand.wanted(PATIENCE + 1) == {Cause.SILENT}


def test_a_look_at_once_is_in_the_place_of_the_next(stand: Stand) -> None:
    stand.resumption.max_bytes, stand.link.sent = 1, 1 << 20
    stand.watch.look()
    assert stand.wants == [Cause.ROTATION]
    assert stand.loop.waiting == 1
