"""The memory of sessions whose other ends acknowledge nothing, on connections that take everything."""

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.peers import EXTENDED

from backhaul.mux.spooled_sender import SpooledSender
from backhaul.relay.frames import KeptFrames
from backhaul.relay.resumption import Resumption
from backhaul.wire.peer import Peer

MEMORY = 64 << 20
SHARE = 4 << 20  # bytes for each session at first
LARGEST = 16 << 20  # bytes for a session that needs more
FRAME = bytes(60_000)
CONTROL = bytes(1 << 15)  # frames of many users


class Line:
    """A connection that takes everything."""

    blocked = False
    unsent = 0
    pace = None

    def transmit(self, data: memoryview | bytes) -> None: ...
    def transmit_frames(self, memory: memoryview, start: int, end: int) -> None: ...
    def transmit_clear(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Session:
    """A session with nothing but its sender."""

    closed = False
    owner: Any = "transport"
    peer: Peer = EXTENDED
    parked = private = False

    def __init__(self, limits: Resumption) -> None:
        self.why = ""
        line: Callable[..., Any] = lambda *_, **__: Line()  # noqa: E731
        nothing: Any = None
        self.sender = SpooledSender(
            self, nothing, nothing, nothing, make_line=line, records=nothing, limits=limits, question=CONTROL
        )
        limits.links["", len(limits.links).to_bytes(1)] = self

    def fill(self) -> None:
        """Send until streams have to wait."""
        while not self.sender.blocked:
            self.sender.transmit(FRAME)

    def drained(self) -> None: ...
    def lost(self, why: str) -> None: ...
    def fail(self, error: Exception) -> None:
        self.end(str(error))

    def keep_no_longer(self) -> None: ...
    def on_bye(self) -> None: ...
    def end(self, why: str) -> None:
        self.why = why
        self.closed = True
        self.sender.close()


@pytest.fixture
def limits() -> Resumption:
    limits = Resumption()
    limits.apply(60, MEMORY)
    return limits


@pytest.fixture
def sessions(limits: Resumption) -> Iterator[list[Session]]:
    """Yield two sessions that keep much, and others that leave no memory."""
    sessions = [Session(limits) for _ in range(12)]
    for session in sessions:
        session.fill()
    assert limits.held >= MEMORY
    yield sessions
    for session in sessions:
        session.sender.close()
    assert not limits.held


def test_sessions_that_keep_much_may_send_control_frames_when_memory_is_short(sessions: list[Session]) -> None:
    assert [session.sender.spool.memory >= LARGEST for session in sessions[:3]] == [True, True, False]
    for session in sessions:
        session.sender.transmit(CONTROL)
    assert not any(session.why for session in sessions)


def test_few_control_frames_are_kept_when_memory_is_short(sessions: list[Session]) -> None:
    before = sessions[5].sender.spool.memory
    while not sessions[5].why:
        sessions[5].sender.transmit(FRAME)
        assert sessions[5].sender.spool.memory < before + (1 << 19)
    assert sessions[5].why == "the other end acknowledges nothing"


def test_more_control_frames_are_kept_while_there_is_memory(limits: Resumption) -> None:
    session = Session(limits)
    session.fill()
    sent = 0
    while not session.why:
        session.sender.transmit(FRAME)
        sent += len(FRAME)
    assert sent > SHARE - len(FRAME)


def test_a_session_that_can_not_keep_its_bytes_ends(limits: Resumption) -> None:
    """Frames of other streams may be among them, whose users would wait for ever."""

    class Exhausted(KeptFrames):
        def keep(self) -> memoryview:
            raise OSError(errno.ENOMEM, "mmap")

    limits.frames = Exhausted()
    session = Session(limits)
    session.sender.transmit(CONTROL)
    session.sender.transmit_frames(session.sender.frames.memory, 0, 1 << 17)
    assert session.closed
    assert "mmap" in session.why
    assert not limits.held
