"""The compatibility rules R1 to R9 and R17 to R20 of docs/protocol.md: frames, streams and connections of smux.

Those about flow control, R10 to R16, are in ``test_smux_flow_rules.py``.

The number in a test's name is that of its rule.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wire.smux.ends import End, fin, pattern, psh, split, syn

from backhaul.wire.smux import HEADER_SIZE, Role, Settings, SmuxError, State
from backhaul.wire.smux.frames import FIN, NOP, RST, SYN, UPD, UPDATE, pack_frame, pack_update

V2 = Settings(version=2)
TARGET = b"\x00\x0e127.0.0.1:8080"
VERSIONS = pytest.mark.parametrize("settings", [Settings(), V2], ids=["v1", "v2"])


def test_r01_header_little_endian_address_prefix_big_endian() -> None:
    end = End(Role.CLIENT)
    end.session.next_id = 0x01020305
    end.open().stream.push(TARGET)
    assert end.take()[HEADER_SIZE:] == bytes.fromhex("01 02 1000 05030201 000e") + b"127.0.0.1:8080"


def test_r02_client_ids_odd_from_3_server_ids_even_from_2() -> None:
    assert [End(Role.CLIENT).open().stream.id, End(Role.SERVER).open().stream.id] == [3, 2]
    client, server = End(Role.CLIENT), End(Role.SERVER)
    assert [client.open().stream.id for _ in range(3)] == [3, 5, 7]
    assert [server.open().stream.id for _ in range(3)] == [2, 4, 6]


@pytest.mark.parametrize(("own", "peer"), [(1, 2), (2, 1)])
def test_r03_version_mismatch_ends_the_session(own: int, peer: int) -> None:
    end = End(Role.SERVER, Settings(version=own))
    end.feed(syn(3, own))
    text = f"peer speaks smux version {peer}, this end is set to {own} (mux_version)"
    with pytest.raises(SmuxError) as caught:
        end.feed(syn(5, peer))
    assert str(caught.value) == text
    assert end.pipes[0].lost is end.session.error is caught.value
    assert end.take() == b""


def test_r03_other_protocols_are_named_as_not_smux() -> None:
    with pytest.raises(SmuxError, match="does not speak smux: its frame begins with byte 71"):
        End(Role.SERVER).feed(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("command", [5, 255])
def test_r04_unknown_command_ends_the_session(command: int) -> None:
    end = End(Role.SERVER)
    with pytest.raises(SmuxError, match=f"unknown smux command {command}"):
        end.feed(pack_frame(1, command, 3))


def test_r04_only_a_peer_with_extensions_may_reset_a_stream_and_in_the_right_version() -> None:
    end = End(Role.SERVER, resets=True)
    end.feed(syn(3) + pack_frame(1, RST, 3))
    assert end.reset == [3]
    with pytest.raises(SmuxError, match="smux version 2, this end is set to 1"):
        end.feed(pack_frame(2, RST, 3))


@VERSIONS
def test_r04_syn_fin_nop_have_no_payload_and_upd_eight_bytes(settings: Settings) -> None:
    end = End(Role.SERVER, settings)
    end.open().close()
    end.session.nop()
    end.feed(syn(3, settings.version) + psh(3, b"hello", settings.version))
    end.pipes[1].read(5)
    lengths = {frame.command: frame.length for frame in split(end.take())}
    assert lengths == {SYN: 0, FIN: 0, NOP: 0} | ({UPD: 8} if settings is V2 else {})


@pytest.mark.parametrize("command", [SYN, FIN, NOP])
def test_r04_a_length_on_syn_fin_nop_is_ignored_and_nothing_is_skipped(command: int) -> None:
    end = End(Role.SERVER)
    head = bytes([1, command]) + bytes.fromhex("0400 09000000")
    end.feed(head + syn(3))
    assert end.pipes[-1].stream.id == 3
    with pytest.raises(SmuxError):
        end.feed(head + b"\xff\xff\xff\xff" + syn(5))


@pytest.mark.parametrize("length", ["0000", "0c00"])
def test_r04_an_update_has_eight_bytes_whatever_its_length_field(length: str) -> None:
    for version in (1, 2):
        end = End(Role.SERVER, Settings(version=version))
        end.feed(bytes([version, UPD]) + bytes.fromhex(length + "03000000") + bytes(8) + syn(3, version))
        assert [pipe.stream.id for pipe in end.pipes] == [3]


def test_r05_a_stream_is_registered_before_its_syn_can_leave() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    end.feed(psh(3, b"early"))
    assert pipe.read(5) == b"early"
    assert end.take() == syn(3)


@VERSIONS
def test_r05_nothing_is_sent_for_a_syn(settings: Settings) -> None:
    end = End(Role.SERVER, settings)
    end.feed(syn(3, settings.version))
    assert len(end.session) == 1
    assert end.take() == b""


def test_r06_the_address_goes_right_after_the_syn() -> None:
    end = End(Role.CLIENT)
    for _ in range(2):
        end.session.open().push(TARGET)
    assert end.take() == syn(3) + psh(3, TARGET) + syn(5) + psh(5, TARGET)


def test_r06_an_address_is_cut_at_the_largest_frame() -> None:
    end = End(Role.CLIENT, Settings(max_frame=10))
    end.session.open().push(TARGET)
    assert end.take() == syn(3) + psh(3, TARGET[:10]) + psh(3, TARGET[10:])


def test_r07_fin_comes_last_and_the_other_direction_stays_open() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    pipe.write(b"request")
    pipe.finish()
    assert end.take() == syn(3) + psh(3, b"request") + fin(3)
    end.feed(psh(3, b"answer"))
    assert pipe.read(100) == b"answer"


def test_r08_a_fin_is_answered_by_a_fin_and_ends_the_stream() -> None:
    end = End(Role.SERVER)
    end.feed(syn(3) + psh(3, b"hello") + fin(3))
    pipe = end.pipes[0]
    assert (pipe.events, pipe.stream.state, len(end.session)) == (["fin"], State.HALF_CLOSED_REMOTE, 1)
    pipe.write(b"bye")
    pipe.finish()
    assert end.take() == psh(3, b"bye") + fin(3)
    assert (pipe.stream.state, len(end.session)) == (State.CLOSED, 0)


def test_r08_fin_for_an_unknown_stream_and_data_after_fin_are_tolerated() -> None:
    end = End(Role.SERVER)
    end.feed(fin(9) + psh(9, b"nobody") + syn(3) + fin(3) + psh(3, b"late") + fin(3))
    assert end.pipes[0].read(100) == b"late"
    assert end.pipes[0].events == ["fin"]
    end.pipes[0].finish()
    end.feed(psh(3, b"too late") + fin(3))
    assert end.pipes[0].unread == []
    assert end.session.room == end.session.settings.receive_buffer


def test_r09_one_fin_and_nothing_after_it() -> None:
    end = End(Role.CLIENT)
    pipe = end.open()
    for _ in range(2):
        pipe.stream.finish()
    assert end.take() == syn(3) + fin(3)
    assert pipe.stream.sendable() == 0
    with pytest.raises(ValueError, match="stream 3 may not push 1 bytes"):
        pipe.stream.push(b"x")
    with pytest.raises(ValueError, match="stream 3 may not push 1 bytes"):
        pipe.stream.put_headers(bytearray(9), 0, 1)
    end.feed(fin(3))
    pipe.stream.finish()
    assert end.take() == b""


def test_r09_ids_are_not_used_again() -> None:
    end = End(Role.CLIENT)
    end.open().finish()
    end.feed(fin(3))
    assert len(end.session) == 0
    assert end.open().stream.id == 5


def test_r09_the_peer_may_use_an_id_again_once_both_have_finished() -> None:
    end = End(Role.SERVER)
    for _ in range(2):
        end.feed(syn(3) + psh(3, b"x") + fin(3))
        end.pipes[-1].finish()
    assert [pipe.stream.id for pipe in end.pipes] == [3, 3]


@given(st.data())
def test_r17_frames_may_be_split_or_glued_anywhere(data: st.DataObject) -> None:
    wire = b"".join(
        [
            syn(3, 2),
            syn(5, 2),
            psh(3, pattern(300), 2),
            pack_update(3, 0, 70000),
            psh(5, b"", 2),
            pack_frame(2, NOP, 77),
            psh(5, pattern(17), 2),
            fin(3, 2),
            psh(9, pattern(40), 2),
            pack_update(9, 1, 1),
            fin(5, 2),
        ]
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1))))
    end = End(Role.SERVER, V2, at_once=True)
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        end.feed(wire[start:stop])
    assert [(pipe.stream.id, bytes(pipe.received), pipe.events) for pipe in end.pipes] == [
        (3, pattern(300), ["fin"]),
        (5, pattern(17), ["fin"]),
    ]
    assert end.pipes[0].stream.sendable() == 70000


def test_r18_closing_a_session_sends_nothing_and_ends_all_streams() -> None:
    end = End(Role.CLIENT)
    pipes = [end.open(), end.open()]
    end.take()
    reason = SmuxError("connection reset")
    for _ in range(2):
        end.session.close(reason)
    assert [(pipe.events, pipe.lost) for pipe in pipes] == [(["lost"], reason)] * 2
    assert (len(end.session), end.take()) == (0, b"")


def test_r19_stray_syns_after_the_end_are_ignored() -> None:
    end = End(Role.SERVER)
    end.session.close(SmuxError("connection reset"))
    end.feed(syn(3))
    assert end.pipes == []


def test_r20_a_peer_cannot_open_streams_without_limit() -> None:
    end = End(Role.SERVER, Settings(max_streams=2))
    end.feed(syn(3) + syn(5) + syn(7) + psh(7, b"lost") + syn(9))
    assert ([pipe.stream.id for pipe in end.pipes], end.refused) == ([3, 5], [7])
    end.pipes[0].finish()
    end.feed(fin(3) + syn(11))
    assert end.pipes[-1].stream.id == 11


def test_update_payloads_have_the_documented_form() -> None:
    assert pack_update(3, 5, 65536) == bytes.fromhex("02 04 0800 03000000 05000000 00000100")
    assert UPDATE.size == HEADER_SIZE
