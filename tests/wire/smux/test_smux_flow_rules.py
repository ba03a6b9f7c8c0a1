"""The compatibility rules R10 to R16 of docs/protocol.md: flow control and keepalive of smux.

The number in a test's name is that of its rule.
"""

import pytest
from tests.wire.smux.ends import End, exchange, fin, pattern, psh, split, syn, updates

from backhaul.wire.smux import HEADER_SIZE, UNLIMITED, Role, Settings, SmuxError
from backhaul.wire.smux.frames import FIN, NOP, PSH, UPD, pack_frame, pack_update

V2 = Settings(version=2)
TARGET = b"\x00\x0e127.0.0.1:8080"
VERSIONS = pytest.mark.parametrize("settings", [Settings(), V2], ids=["v1", "v2"])


def test_r10_respects_262144_until_the_first_update_then_consumed_plus_window() -> None:
    end = End(Role.CLIENT, V2)
    pipe = end.open()
    assert pipe.stream.sendable() == 262144
    pipe.write(pattern(300000))
    assert sum(frame.length for frame in split(end.take()) if frame.command == PSH) == 262144
    end.feed(pack_update(3, 262144, 65536))
    assert sum(frame.length for frame in split(end.take())) == 300000 - 262144
    assert pipe.stream.sendable() == 262144 + 65536 - 300000


def test_r10_holds_262144_bytes_of_each_of_many_streams_without_an_update() -> None:
    end = End(Role.SERVER, V2)
    for stream_id in range(3, 3 + 2 * 15, 2):
        end.feed(syn(stream_id, 2) + psh(stream_id, bytes(32768), 2) * 8)
        assert not end.session.paused
    assert end.take() == b""
    end.feed(syn(99, 2) + psh(99, bytes(32768), 2) * 8)
    assert end.session.paused


def test_r10_updates_at_the_first_read_and_at_half_the_window() -> None:
    end = End(Role.SERVER, V2)
    end.feed(syn(3, 2) + psh(3, bytes(40000), 2))
    for size in (2, 32767, 1):
        end.pipes[0].read(size)
    assert updates(end.take()) == [(3, 2, 65536), (3, 32770, 65536)]


def test_r10_the_first_read_rule_frees_a_peer_within_its_initial_window() -> None:
    """Half of this receiver's window is more than the peer may send before the first update."""
    a, b = End(Role.CLIENT, V2), End(Role.SERVER, Settings(version=2, stream_buffer=524290))
    a.open().write(pattern(400000))
    exchange(a, b)
    b.pipes[0].read(1)
    exchange(a, b)
    assert b"".join(b.pipes[0].unread) == pattern(400000)[1:]


def test_r11_any_window_is_used_with_a_partial_frame() -> None:
    end = End(Role.CLIENT, V2)
    pipe = end.open()
    pipe.write(pattern(300000))
    end.take()
    end.feed(pack_update(3, 196609, 65536))
    assert [frame.length for frame in split(end.take())] == [1]


def test_r12_consumed_is_cumulative_never_more_than_received_and_the_window_constant() -> None:
    end = End(Role.SERVER, Settings(version=2, stream_buffer=1))
    end.feed(syn(3, 2) + psh(3, b"abcdef", 2))
    for _ in range(3):
        end.pipes[0].read(2)
    assert updates(end.take()) == [(3, 2, 1), (3, 4, 1), (3, 6, 1)]
    for excess in (1, -1):
        with pytest.raises(ValueError, match=f"stream 3: {excess} bytes consumed, 0 held"):
            end.pipes[0].stream.consumed(excess)


def test_r13_a_blocked_writer_learns_of_update_fin_and_loss() -> None:
    end = End(Role.CLIENT, V2)
    pipe = end.open()
    pipe.write(bytes(262144))
    end.feed(pack_update(3, 0, 65536))
    assert pipe.events == []
    end.feed(pack_update(3, 262144, 65536))
    end.feed(pack_update(3, 262144, 65537))
    assert pipe.events == ["window"]
    end.feed(fin(3, 2))
    end.session.close(SmuxError("connection reset"))
    assert pipe.events == ["window", "fin", "lost"]
    assert pipe.stream.sendable() == 0


def test_r14_v1_stops_at_the_session_budget_and_resumes_above_zero() -> None:
    end = End(Role.SERVER, Settings(receive_buffer=65536))
    end.feed(syn(3) + psh(3, bytes(40000)))
    assert not end.session.paused
    end.feed(psh(3, bytes(40000)))
    assert end.session.paused
    end.pipes[0].read(14464)
    assert end.session.paused
    end.pipes[0].read(1)
    assert not end.session.paused


def test_r14_v1_has_no_window_per_stream() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    pipe.write(bytes(10_000_000))
    assert (pipe.unsent, pipe.stream.sendable()) == (b"", UNLIMITED)


def test_r15_a_nop_every_20_s_even_when_busy() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    nops = 0
    for second in range(1, 101):
        pipe.write(b"busy")
        end.feed(pack_frame(1, NOP, 0))
        assert end.session.next_deadline >= second
        end.session.tick(float(second))
        nops += end.take().count(pack_frame(1, NOP, 0))
    assert nops == 5


def test_r15_half_a_header_is_no_sign_of_life() -> None:
    end = End(Role.SERVER)
    end.feed(pack_frame(1, NOP, 0)[:7])
    with pytest.raises(SmuxError, match="peer sent nothing for 40 s"):
        end.session.tick(40.0)


def test_r15_payload_that_trickles_in_is_no_sign_of_life() -> None:
    end = End(Role.SERVER)
    frame = psh(3, bytes(60000))
    end.feed(syn(3) + frame[:20000])
    end.session.tick(40.0)
    end.feed(frame[20000:])
    with pytest.raises(SmuxError):
        end.session.tick(80.0)


def test_r15_a_session_that_does_not_read_is_not_timed_out() -> None:
    end = End(Role.SERVER, Settings(receive_buffer=5))
    end.feed(syn(3) + psh(3, b"hello"))
    end.session.tick(40.0)
    end.session.tick(80.0)
    end.pipes[0].read(1)
    with pytest.raises(SmuxError):
        end.session.tick(120.0)
    assert [frame.command for frame in split(end.take())] == [NOP] * 3


def test_r16_control_goes_first_but_never_before_payload_of_its_stream() -> None:
    end = End(Role.SERVER, V2)
    end.feed(syn(3, 2) + psh(3, b"hello", 2))
    pipe = end.pipes[0]
    frame = bytearray(HEADER_SIZE + 3)
    before = end.session.take_control()
    pipe.stream.put_headers(frame, 0, 3)
    pipe.read(5)
    pipe.stream.finish()
    assert before == b""
    assert [head.command for head in split(frame + end.session.take_control())] == [PSH, UPD, FIN]
