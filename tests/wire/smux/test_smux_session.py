"""The session beyond the rules of the wire: its bounds, its ends, and abandoned streams."""

import tracemalloc

import pytest
from tests.wire.smux.ends import End, Pipe, exchange, pattern, split, updates

from backhaul.wire.smux import HEADER_SIZE, UNLIMITED, Role, Settings, SmuxError, State, Stream, StreamIdsExhausted
from backhaul.wire.smux.frames import FIN, NOP, PSH, RST, SYN, pack_frame, pack_update
from backhaul.wire.smux.session import CONTROL_LIMIT
from backhaul.wire.smux.stream import TRANSITIONS, Event

V2 = Settings(version=2)


def received(end: End, payload: bytes) -> Pipe:
    """Let ``end`` accept stream 3 with ``payload`` on it."""
    version = end.session.settings.version
    end.feed(pack_frame(version, SYN, 3) + pack_frame(version, PSH, 3, payload))
    return end.pipes[0]


@pytest.mark.parametrize(("role", "last"), [(Role.CLIENT, 0xFFFF_FFFF), (Role.SERVER, 0xFFFF_FFFE)])
def test_open_fails_once_the_ids_are_used_up_and_the_session_continues(role: Role, last: int) -> None:
    end = End(role)
    end.session.next_id = last
    pipe = end.open()
    assert pipe.stream.id == last
    end.take()
    for _ in range(2):
        with pytest.raises(StreamIdsExhausted):
            end.session.open()
    assert end.take() == b""
    end.feed(pack_frame(1, PSH, last, b"alive"))
    assert pipe.read(5) == b"alive"


def test_open_skips_ids_used_by_the_peer() -> None:
    end = End(Role.CLIENT)
    end.feed(pack_frame(1, SYN, 3) + pack_frame(1, SYN, 5))
    assert end.open().stream.id == 7


def test_open_fails_when_the_session_has_ended() -> None:
    end = End(Role.CLIENT)
    end.session.close(SmuxError("connection reset"))
    with pytest.raises(SmuxError, match="no stream can be opened: connection reset"):
        end.session.open()


def test_get_knows_streams_until_both_sides_have_finished() -> None:
    end = End(Role.CLIENT)
    stream = end.open().stream
    stream.finish()
    assert end.session.get(3) is stream
    end.feed(pack_frame(1, FIN, 3))
    assert end.session.get(3) is None


def test_the_last_frame_of_both_sides_may_leave_after_all_others() -> None:
    end = End(Role.CLIENT)
    first, second = end.open().stream, end.open().stream
    end.take()
    end.feed(pack_frame(1, FIN, first.id))
    first.finish_late()
    first.finish_late()
    assert end.session.get(first.id) is None
    assert not end.session.control
    end.session.nop()
    assert end.take() == pack_frame(1, NOP, 0) + pack_frame(1, FIN, first.id)
    second.finish_late()
    assert end.session.control == pack_frame(1, FIN, second.id)
    assert not end.session.late


@pytest.mark.parametrize("settings", [Settings(), Settings(version=2, window_growth=4096)])
def test_unread_bytes_are_counted_until_they_are_consumed(settings: Settings) -> None:
    end = End(Role.CLIENT, settings)
    assert end.session.unread == 0
    pipe = received(end, b"hello")
    assert end.session.unread == 5
    assert pipe.read(3) == b"hel"
    assert end.session.unread == 2


def test_a_reset_is_reported_for_an_open_stream_before_its_fin() -> None:
    a, b = End(Role.CLIENT), End(Role.SERVER, resets=True)
    left, other = a.open(), a.open()
    exchange(a, b)
    a.session.reset(left.stream.id)
    left.close()
    b.feed(a.take())
    assert b.reset == [left.stream.id]
    assert b.pipe(left.stream.id).events == ["fin"]
    b.pipe(left.stream.id).close()
    a.session.reset(left.stream.id)
    exchange(a, b)
    assert b.reset == [left.stream.id]
    assert b.session.get(other.stream.id)


def test_a_reset_is_a_sign_of_life() -> None:
    end = End(Role.SERVER, Settings(keepalive_timeout=1.0), resets=True)
    end.feed(pack_frame(1, RST, 3))
    end.session.tick(1.0)
    assert end.session.error is None


def test_a_repeated_syn_is_ignored_for_streams_of_either_end() -> None:
    end = End(Role.CLIENT)
    end.open()
    end.feed(pack_frame(1, SYN, 3) + pack_frame(1, SYN, 4) + pack_frame(1, SYN, 4))
    assert [pipe.stream.id for pipe in end.pipes] == [3, 4]


def test_an_update_on_version_1_has_no_effect() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    before = pipe.stream.sendable()
    end.feed(bytes([1]) + pack_update(3, 7, 7)[1:] + pack_frame(1, PSH, 3, b"next"))
    assert pipe.stream.sendable() == before
    assert pipe.read(4) == b"next"


def test_payload_is_delivered_in_pieces_as_it_arrives() -> None:
    end = End(Role.SERVER)
    frame = pack_frame(1, PSH, 3, b"in three pieces")
    end.feed(pack_frame(1, SYN, 3) + frame[:10])
    end.feed(frame[10:12])
    end.feed(frame[12:])
    assert end.pipes[0].unread == [b"in", b" t", b"hree pieces"]


def test_payload_of_a_stream_closed_within_a_frame_is_dropped() -> None:
    end = End(Role.SERVER)
    frame = pack_frame(1, PSH, 3, b"in two pieces")
    end.feed(pack_frame(1, SYN, 3) + pack_frame(1, FIN, 3) + frame[:10])
    end.pipes[0].close()
    end.feed(frame[10:] + pack_frame(1, SYN, 5))
    assert end.pipes[0].unread == [b"in"]
    assert end.pipes[1].stream.id == 5
    assert end.session.room == end.session.settings.receive_buffer


def test_unread_bytes_of_a_closed_stream_stay_charged_until_consumed() -> None:
    end = End(Role.SERVER, V2)
    pipe = received(end, b"held")
    end.feed(pack_frame(2, FIN, 3))
    pipe.stream.finish()
    assert (len(end.session), end.session.room) == (0, V2.receive_buffer - 4)
    end.take()
    pipe.read(4)
    assert (end.session.room, end.take()) == (V2.receive_buffer, b"")


class Quitter(Pipe):
    """A sink that abandons its stream, or ends the whole session, during a delivery."""

    def on_data(self, view: memoryview) -> int:
        self.stream.abandon()
        return len(view)


class Wrecker(Pipe):
    def on_data(self, view: memoryview) -> int:
        self.end.session.close(SmuxError("enough"))
        return len(view)


def replace_sink(end: End, kind: type[Pipe]) -> Pipe:
    sink = kind(end, end.pipes[0].stream)
    end.pipes[0].stream.sink = sink
    return sink


@pytest.mark.parametrize("settings", [Settings(), V2], ids=["v1", "v2"])
def test_a_sink_may_abandon_its_stream_during_a_delivery(settings: Settings) -> None:
    end = End(Role.SERVER, settings)
    end.feed(pack_frame(settings.version, SYN, 3))
    sink = replace_sink(end, Quitter)
    end.feed(pack_frame(settings.version, PSH, 3, b"hello") * 3 + pack_frame(settings.version, FIN, 3))
    assert sink.events == ["fin"]
    assert end.session.room == settings.receive_buffer
    assert end.take() == b""


def test_a_sink_may_close_the_session_during_a_delivery() -> None:
    end = End(Role.SERVER, V2)
    end.feed(pack_frame(2, SYN, 3))
    sink = replace_sink(end, Wrecker)
    end.feed(pack_frame(2, PSH, 3, b"hello") + pack_frame(2, SYN, 5) + b"garbage that is not looked at")
    assert sink.events == ["lost"]
    assert (len(end.pipes), end.take()) == (1, b"")


def test_abandon_releases_held_bytes_and_discards_later_ones() -> None:
    end = End(Role.SERVER)
    pipe = received(end, b"held")
    for _ in range(2):
        pipe.stream.abandon()
    end.feed(pack_frame(1, PSH, 3, b"more"))
    assert (pipe.unread, end.session.room) == ([b"held"], end.session.settings.receive_buffer)
    pipe.stream.consumed(4)
    assert end.session.room == end.session.settings.receive_buffer
    end.feed(pack_frame(1, FIN, 3))
    assert pipe.events == ["fin"]


@pytest.mark.parametrize(("window", "excess"), [(1, 500), (65536, 400000), (1 << 20, 2_000_000)])
def test_a_peer_can_send_the_rest_into_an_abandoned_stream_and_finish(window: int, excess: int) -> None:
    a, b = End(Role.CLIENT, V2), End(Role.SERVER, Settings(version=2, stream_buffer=window))
    source = a.open()
    source.write(pattern(262144 + excess))
    source.finish()
    b.feed(a.take())
    b.pipes[0].finish()
    b.pipes[0].stream.abandon()
    exchange(a, b)
    assert source.unsent == b""
    assert (len(a.session), len(b.session)) == (0, 0)
    assert b.session.room == V2.receive_buffer


def test_abandoning_few_bytes_sends_no_update() -> None:
    end = End(Role.SERVER, V2)
    received(end, bytes(1000)).close()
    assert [frame.command for frame in split(end.take())] == [FIN]


def test_no_update_for_a_stream_that_both_have_finished() -> None:
    end = End(Role.SERVER, V2)
    pipe = received(end, bytes(40000))
    end.feed(pack_frame(2, FIN, 3))
    pipe.stream.finish()
    end.take()
    pipe.stream.abandon()
    assert updates(end.take()) == []


def test_updates_continue_after_the_fin_of_this_end() -> None:
    end = End(Role.SERVER, V2)
    pipe = received(end, b"request")
    pipe.read(7)
    pipe.stream.finish()
    end.take()
    end.feed(pack_frame(2, PSH, 3, bytes(32768)))
    pipe.read(32768)
    assert updates(end.take()) == [(3, 32775, 65536)]


def test_a_finished_stream_is_not_told_of_a_window() -> None:
    end = End(Role.CLIENT, V2)
    pipe = end.open()
    pipe.write(bytes(262144))
    pipe.finish()
    end.feed(pack_update(3, 262144, 65536) + pack_update(9, 1, 1))
    assert pipe.events == []


def test_reading_stops_when_unsent_answers_pile_up() -> None:
    end = End(Role.SERVER, Settings(version=2, stream_buffer=1), at_once=True)
    end.feed(pack_frame(2, SYN, 3))
    answers = 0
    while not end.session.paused:
        end.feed(pack_frame(2, PSH, 3, b"x"))
        answers += 1
    assert answers * 16 == len(end.session.control) > CONTROL_LIMIT
    end.take()
    assert not end.session.paused


def test_bytes_fed_after_the_end_are_not_kept() -> None:
    end = End(Role.CLIENT)
    end.session.close(SmuxError("connection reset"))
    data = pack_frame(1, NOP, 77) + bytes(100_000)
    tracemalloc.start()
    end.feed(data)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not end.pipes
    assert kept < 10_000


def test_a_tick_after_the_end_does_nothing() -> None:
    end = End(Role.CLIENT)
    end.session.close(SmuxError("connection reset"))
    end.session.tick(1000.0)
    assert end.take() == b""


def test_a_silent_peer_ends_no_stream_until_the_session_is_closed() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    with pytest.raises(SmuxError) as caught:
        end.session.tick(40.0)
    assert pipe.lost is end.session.error is None
    end.session.close(caught.value)
    assert pipe.lost is caught.value
    assert pipe.stream.state is State.LOST


def test_another_transport_is_silent_only_from_its_beginning() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    with pytest.raises(SmuxError):
        end.session.tick(40.0)
    end.time = 100.0
    end.session.change_transport()
    assert end.session.next_deadline == 120.0
    end.session.tick(120.0)
    with pytest.raises(SmuxError):
        end.session.tick(140.0)
    assert pipe.lost is None


def test_payload_is_put_into_frames_of_the_largest_size() -> None:
    end = End(Role.CLIENT, Settings(version=2, max_frame=100))
    stream = end.open().stream
    room = stream.sendable()
    memory = bytearray(5 + 3 * HEADER_SIZE + 250)
    assert stream.put_headers(memory, 5, 250) == len(memory)
    assert [(head.command, head.length) for head in split(memory[5:])] == [(PSH, 100), (PSH, 100), (PSH, 50)]
    assert stream.put_headers(memory, 0, 100) == HEADER_SIZE + 100
    assert [(head.command, head.length) for head in split(memory[: HEADER_SIZE + 100])] == [(PSH, 100)]
    assert stream.sendable() == room - 350


def test_payload_cannot_exceed_the_window() -> None:
    end = End(Role.CLIENT, Settings(version=2, max_frame=100))
    stream = end.open().stream
    for count in (0, -1, stream.sendable() + 1):
        with pytest.raises(ValueError, match="may not push"):
            stream.put_headers(bytearray(8), 0, count)
    end.feed(pack_update(3, 0, 50))
    with pytest.raises(ValueError, match="may not push 51 bytes"):
        stream.push(bytes(51))
    stream.push(bytes(50))
    assert stream.sendable() == 0


@pytest.mark.parametrize("state", State)
def test_every_state_but_the_last_two_can_be_lost(state: State) -> None:
    assert ((state, Event.LOSE) in TRANSITIONS) == (state not in {State.CLOSED, State.LOST})


def test_an_idle_stream_is_small() -> None:
    """Thousands of idle connections are the normal case; a ``__dict__`` would double their cost."""
    assert not hasattr(Stream(End(Role.CLIENT, V2).session, 3), "__dict__")


@pytest.mark.parametrize(("version", "stretch"), [(1, UNLIMITED), (2, 131072)])
def test_a_stream_may_be_pushed_on_in_stretches_until_it_is_finished(version: int, stretch: int) -> None:
    pipe = End(Role.CLIENT, Settings(version=version)).open()
    assert pipe.stream.stretch() == stretch
    pipe.finish()
    assert pipe.stream.stretch() == 0
