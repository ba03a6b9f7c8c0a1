"""Frames without an effect, of which two ends of this program send each other few."""

import pytest
from tests.wire.smux.ends import End, exchange, fin, psh, syn

from backhaul.wire.smux import FloodError, Role, Settings
from backhaul.wire.smux.frames import NOP, RST, pack_frame, pack_update

MOST = 5
SETTINGS = Settings(version=2, most_vain=MOST, max_streams=2, keepalive_interval=10.0)
UNKNOWN = 9
VAIN = {
    "NOP": pack_frame(2, NOP, 0),
    "SYN of a stream": syn(3, 2),
    "SYN beyond the limit": syn(UNKNOWN, 2),
    "FIN of an unknown stream": fin(UNKNOWN, 2),
    "second FIN": fin(5, 2),
    "RST of an unknown stream": pack_frame(2, RST, UNKNOWN),
    "payload of an unknown stream": psh(UNKNOWN, b"abc", 2),
    "no payload": psh(3, b"", 2),
    "UPD of an unknown stream": pack_update(UNKNOWN, 1, 1),
    "UPD without a byte": pack_update(3, 0, 0xFFFF_FFFF),
    "UPD of bytes that were not sent": pack_update(3, 1, 1 << 20),
}


def end_with_streams(settings: Settings = SETTINGS) -> End:
    """Return an end with the streams 3 and 5, the peer of which has finished the second one."""
    end = End(Role.SERVER, settings, at_once=True, resets=True)
    end.feed(syn(3, 2) + syn(5, 2) + fin(5, 2))
    return end


every_kind = pytest.mark.parametrize("frame", VAIN.values(), ids=VAIN)


@every_kind
def test_too_many_end_the_session(frame: bytes) -> None:
    end = end_with_streams()
    end.feed(frame * MOST)
    assert not end.session.error
    with pytest.raises(FloodError, match="floods the session with frames that have no effect"):
        end.feed(frame)
    assert {pipe.events[-1] for pipe in end.pipes} == {"lost"}


@every_kind
def test_they_are_forgotten_with_each_nop_of_this_end(frame: bytes) -> None:
    end = end_with_streams()
    end.feed(frame * MOST)
    end.session.tick(5.0)
    with pytest.raises(FloodError):
        end.feed(frame)
    end = end_with_streams()
    end.feed(frame * MOST)
    end.session.tick(10.0)
    end.feed(frame * MOST)


@every_kind
def test_the_go_library_may_send_any_number(frame: bytes) -> None:
    end = end_with_streams(Settings(version=2, max_streams=2))
    end.feed(frame * 10_000)
    assert not end.session.error


def test_the_handler_counts_others() -> None:
    session = end_with_streams().session
    for _ in range(MOST):
        session.note_vain()
    with pytest.raises(FloodError):
        session.note_vain()


def test_updates_that_report_more_are_not_counted() -> None:
    end = end_with_streams()
    end.pipes[0].write(bytes(100))
    for consumed in range(1, 100):
        end.feed(pack_update(3, consumed, 1 << 20))
    assert not end.session.error


def test_streams_that_end_excuse_frames_that_cross_their_end() -> None:
    a, b = End(Role.CLIENT, SETTINGS), End(Role.SERVER, SETTINGS, at_once=True)
    for _ in range(10):
        pipe = a.open()
        exchange(a, b)
        pipe.finish()
        b.pipes[-1].finish()
        exchange(a, b)
        b.feed(pack_update(pipe.stream.id, 1, 1) * 256)
    assert not b.session.error


class TestOrphans:
    """Streams that this end has finished and abandoned, and that the peer does not finish."""

    SETTINGS = Settings(version=2, most_orphans=2, keepalive_interval=10.0, keepalive_timeout=1000.0)

    def end(self, abandoned: int, settings: Settings = SETTINGS) -> End:
        end = End(Role.SERVER, settings)
        for number in range(3, 11, 2):
            end.feed(syn(number, 2))
        for pipe in end.pipes[:abandoned]:
            pipe.stream.finish()
            pipe.stream.abandon()
            pipe.stream.abandon()  # twice counts once
        return end

    def test_too_many_for_too_long_end_the_session(self) -> None:
        end = self.end(3)
        assert (end.session.orphans, end.session.in_use) == (3, True)
        end.session.tick(10.0)
        with pytest.raises(FloodError, match="peer does not end its streams"):
            end.session.tick(20.0)

    def test_far_too_many_end_the_session_at_the_next_stream(self) -> None:
        end = self.end(2, Settings(version=2, orphan_limit=1))
        with pytest.raises(FloodError, match="peer does not end its streams"):
            end.feed(syn(11, 2))
        assert {pipe.events[-1] for pipe in end.pipes} == {"lost"}

    def test_as_many_as_the_limit_are_not_too_many(self) -> None:
        end = self.end(2, Settings(version=2, orphan_limit=2))
        end.feed(syn(11, 2))
        assert len(end.session) == 5

    def test_a_few_may_stay(self) -> None:
        end = self.end(2)
        for beat in range(1, 10):
            end.session.tick(10.0 * beat)

    def test_the_go_library_may_leave_any_number(self) -> None:
        end = self.end(4, Settings(version=2, keepalive_timeout=1000.0))
        assert not end.session.in_use
        for beat in range(1, 10):
            end.session.tick(20.0 * beat)

    def test_others_than_at_the_last_look_do_not_count(self) -> None:
        end = self.end(3)
        end.session.tick(10.0)
        end.feed(fin(3, 2) + fin(5, 2))
        assert end.session.orphans == 1
        for pipe in [end.pipes[3]]:
            pipe.stream.abandon()
            pipe.stream.finish()
        end.feed(syn(11, 2))
        end.pipes[4].stream.finish()
        end.pipes[4].stream.abandon()
        assert end.session.orphans == 3
        end.session.tick(20.0)

    def test_a_stream_that_was_abandoned_first(self) -> None:
        end = self.end(0)
        stream = end.pipes[0].stream
        stream.abandon()
        assert end.session.orphans == 0
        stream.finish()
        assert end.session.orphans == 1
        end.feed(fin(3, 2))
        assert end.session.orphans == 0
        end.pipes[1].stream.abandon()
        end.feed(fin(5, 2))
        end.pipes[1].stream.finish()
        assert end.session.orphans == 0
