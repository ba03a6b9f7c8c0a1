"""The client's watch over its sessions, with sessions and a clock that the test moves."""

import logging
import select
import socket
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.clock import Loop
from tests.support.net import HOST

from backhaul.net.log_throttle import LogThrottle
from backhaul.net.tcp_info import TcpInfo
from backhaul.relay.patience import Patience
from backhaul.transports.carriers.watch import Cause, Watch

JITTER = 0.2
PATIENCE = Patience().unacknowledged


@dataclass
class Limits:
    """The limits of a connection; 0 is none."""

    max_age: float = 0
    max_bytes: int = 0


@dataclass(eq=False)
class Session:
    """A session, which the test moves; its mark ``paused`` is that of its smux session."""

    conn: socket.socket
    kept: bool = True
    parked: bool = False
    closed: bool = False
    paused: bool = False
    unacknowledged: int = 0
    signs: int = 5
    sent: int = 700
    received: int = 300
    carried: tuple[int, int] = (0, 0)
    streams: int = 0
    asked: int = 0

    @property
    def session(self) -> "Session":
        return self

    def __len__(self) -> int:
        return self.streams

    def ask(self) -> None:
        self.asked += 1


@dataclass
class Stand:
    """A watch and what it wants; ``server`` is the other end of the connection."""

    link: Session
    server: socket.socket
    loop: Loop = field(default_factory=Loop)
    resumption: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    complaints: LogThrottle = field(default_factory=lambda: LogThrottle(logging.getLogger("backhaul.mux")))
    wants: list[Cause] = field(default_factory=list)

    def __post_init__(self) -> None:
        resources: Any = self
        self.watch = Watch(resources, lambda _, cause: self.wants.append(cause))

    def reconnect(self) -> None:
        """Give the session another connection, which the watch sees at its next look."""
        for sock in (self.link.conn, self.server):
            sock.close()
        self.link.conn, self.server = connection()
        self.loop.run_for(self.patience.look)

    def begin(self) -> None:
        link: Any = self.link
        self.watch.add(link)

    def wanted(self, seconds: float) -> set[Cause]:
        """Return what the watch wants within some seconds."""
        self.wants.clear()
        self.loop.run_for(seconds)
        return set(self.wants)


def until_readable(sock: socket.socket) -> None:
    assert select.select([sock], [], [], PATIENCE)[0]


def connection() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection."""
    with socket.create_server((HOST, 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far = listener.accept()[0]
    near.setblocking(False)
    return near, far


@pytest.fixture
def stand() -> Iterator[Stand]:
    near, far = connection()
    stand = Stand(Session(near), far)
    stand.begin()
    yield stand
    for sock in (stand.link.conn, stand.server):
        sock.close()


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


def replace(stand: Stand, cause: Cause, seconds: float = 0.1) -> None:
    """Give the session another connection, which took some seconds."""
    link: Any = stand.link
    carried, link.carried, link.unacknowledged = link.carried, (0, 0), 0
    stand.watch.replaced(link, cause, carried, seconds)
    stand.reconnect()


def freeze(stand: Stand) -> None:
    """Let a connection become silent after 15 kB, and give the session another one."""
    stand.link.carried, stand.link.unacknowledged = (15_000, 300), 1
    assert stand.wanted(PATIENCE) == set()
    assert stand.wanted(1) == {Cause.SILENT}
    replace(stand, Cause.SILENT)


def test_connections_that_freeze_after_some_bytes_are_replaced_ahead_of_it(stand: Stand) -> None:
    for _ in range(3):
        stand.link.carried = 11_251, 0
        assert stand.wanted(1) == set()
        freeze(stand)
    stand.link.carried = 11_250, 1 << 20
    assert stand.wanted(1) == set()
    stand.link.carried = 11_251, 0
    assert stand.wanted(stand.patience.look / 2) == {Cause.ROTATION}


def test_a_silent_connection_whose_successor_took_long_was_part_of_an_outage(stand: Stand) -> None:
    for factor in (1, 2, 4, 8):
        stand.link.carried, stand.link.unacknowledged = (15_000, 300), 1
        assert stand.wanted(factor * PATIENCE) == set()
        assert stand.wanted(1) == {Cause.SILENT}
        replace(stand, Cause.SILENT, PATIENCE + 0.1)
    stand.link.carried = 11_251, 0
    assert stand.wanted(60) == set()


def test_an_outage_begins_a_new_count(stand: Stand) -> None:
    for _ in range(2):
        freeze(stand)
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
    for _ in range(3):
        freeze(stand)
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
    for _ in range(3):
        freeze(stand)
    stand.loop.run_for(60)
    stand.link.streams, stand.link.carried = 1, (11_251, 0)
    assert stand.wanted(0.1) == {Cause.ROTATION}
    replace(stand, Cause.ROTATION)
    stand.link.received += 15_000
    freeze(stand)
    stand.link.carried = 11_251, 0
    assert stand.wanted(0.1) == {Cause.ROTATION}


def test_a_connection_that_nears_the_number_and_becomes_silent_is_replaced_soon(stand: Stand) -> None:
    """What a firewall has counted may be more than what has arrived."""
    for _ in range(3):
        freeze(stand)
    stand.link.carried = 5_626, 0  # more than half
    assert stand.wanted(60) == set()  # nobody waits for anything
    stand.link.streams, stand.link.received = 1, 400
    assert stand.wanted(0.3) == set()
    assert stand.wanted(0.1) == {Cause.ROTATION}
    stand.link.carried = 5_625, 0
    assert stand.wanted(PATIENCE) == set()
