"""Frames, compared with the RFC's examples, the recorded Go program and the websockets library."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.net import cuts
from websockets.frames import Frame, Opcode

from backhaul.errors import TransportError
from backhaul.wire import websocket
from backhaul.wire.websocket import (
    BINARY,
    CLOSE,
    MAX_HEADER,
    PING,
    PONG,
    TEXT,
    FrameParser,
    MessageReader,
    WebSocketError,
    encode,
    put_header,
)

TRANSCRIPTS = json.loads((Path(__file__).parents[1] / "data" / "transcripts.json").read_text())
KEY = "37fa213d"  # the masking key of the RFC's examples

# Bytes that break the protocol, as hex; part of the error; True for the frames of a client.
VIOLATIONS = [
    pytest.param("c100", "extension", False, id="RSV1"),
    pytest.param("a100", "extension", False, id="RSV2"),
    pytest.param("9100", "extension", False, id="RSV3"),
    pytest.param("8300", "unknown type 3", False, id="reserved data opcode"),
    pytest.param("0700", "unknown type 7", False, id="reserved data opcode, fragmented"),
    pytest.param("8b00", "unknown type 11", False, id="reserved control opcode"),
    pytest.param("0f00", "unknown type 15", False, id="reserved control opcode, fragmented"),
    pytest.param("0900", "control frame is fragmented", False, id="fragmented ping"),
    pytest.param("0800", "control frame is fragmented", False, id="fragmented close"),
    pytest.param("897e007e", "exceeds 125", False, id="long ping"),
    pytest.param("897e0005", "exceeds 125", False, id="short ping in the long form"),
    pytest.param("8000", "continues no message", False, id="last fragment without a first"),
    pytest.param("0000", "continues no message", False, id="fragment without a first"),
    pytest.param("82008000", "continues no message", False, id="fragment after a whole message"),
    pytest.param("01008100", "begins within another", False, id="message within a message"),
    pytest.param("020089000200", "begins within another", False, id="message within a message, after a ping"),
    pytest.param("827f8000000000000000", "63 bits", False, id="64-bit length"),
    pytest.param("8280", "frames of a server must not be masked", False, id="masked by a server"),
    pytest.param("8200", "frames of a client must be masked", True, id="not masked by a client"),
]


class Recorder:
    """A sink that keeps whole messages, and fails at calls that no sink should get."""

    def __init__(self) -> None:
        self.events: list[tuple[int, bytes]] = []
        self.message = bytearray()
        self.opcode = 0
        self.pieces = 0

    def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
        assert piece or message_end, "an empty piece that ends nothing"
        assert self.opcode in {0, opcode}, "the type changed within a message"
        self.pieces += 1
        self.opcode = opcode
        self.message += piece
        if message_end:
            self.events.append((opcode, bytes(self.message)))
            self.message.clear()
            self.opcode = 0

    def on_control(self, opcode: int, payload: bytes) -> None:
        self.events.append((opcode, payload))


def parse(*chunks: bytes, masked: bool) -> list[tuple[int, bytes]]:
    """Feed ``chunks`` from one buffer that is overwritten each time, like that of a relay."""
    recorder = Recorder()
    parser = FrameParser(recorder, expect_masked=masked)
    for chunk in chunks:
        buffer = bytearray(chunk)
        parser.feed(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
    assert not recorder.message
    return recorder.events


def each_byte(data: bytes) -> list[bytes]:
    """Cut frames into their bytes; the middle of a frame of 64 KiB stays whole."""
    return [*cuts(data[:600], 1), *filter(None, [data[600:-600]]), *cuts(data[600:][-600:], 1)]


def parse_both_ways(data: bytes, *, masked: bool) -> list[tuple[int, bytes]]:
    whole = parse(data, masked=masked)
    assert parse(*each_byte(data), masked=masked) == whole
    return whole


@pytest.mark.parametrize(
    ("frames", "masked", "events"),
    [
        pytest.param("810548656c6c6f", False, [(TEXT, b"Hello")], id="text"),
        pytest.param("818537fa213d7f9f4d5158", True, [(TEXT, b"Hello")], id="masked text"),
        pytest.param("010348656c80026c6f", False, [(TEXT, b"Hello")], id="fragmented text"),
        pytest.param("890548656c6c6f", False, [(PING, b"Hello")], id="ping"),
        pytest.param("8a8537fa213d7f9f4d5158", True, [(PONG, b"Hello")], id="masked pong"),
        pytest.param("827e0100" + "5a" * 256, False, [(BINARY, b"Z" * 256)], id="256 bytes"),
        pytest.param("827f0000000000010000" + "5a" * 65536, False, [(BINARY, b"Z" * 65536)], id="64 KiB"),
    ],
)
def test_examples_of_rfc_6455_section_5_7(frames: str, *, masked: bool, events: list[tuple[int, bytes]]) -> None:
    assert parse_both_ways(bytes.fromhex(frames), masked=masked) == events


def test_encoding_gives_the_unmasked_examples_of_rfc_6455() -> None:
    assert encode(TEXT, b"Hello", masked=False).hex() == "810548656c6c6f"
    assert encode(PING, b"Hello", masked=False).hex() == "890548656c6c6f"
    assert encode(BINARY, b"Z" * 256, masked=False)[:5].hex() == "827e01005a"
    assert encode(BINARY, b"Z" * 65536, masked=False)[:11].hex() == "827f00000000000100005a"


def recorded_frames(transport: str) -> Iterator[tuple[str, bytes]]:
    """Yield the WebSocket frames of v0.7.2 with their direction; of wsmux only the control channel is framed."""
    for event in TRANSCRIPTS[transport]["events"]:
        if "hex" in event and (transport == "ws" or event["conn"] == 0):
            yield event["dir"], bytes.fromhex(event["hex"])


@pytest.mark.parametrize("transport", ["ws", "wsmux"])
def test_frames_of_the_recorded_go_program(transport: str) -> None:
    frames = list(recorded_frames(transport))
    parsed = {
        direction: parse_both_ways(b"".join(data for way, data in frames if way == direction), masked=masked)
        for direction, masked in (("client->server", True), ("server->client", False))
    }
    assert (BINARY, b"\x00") in parsed["client->server"]
    assert (BINARY, b"\x00") in parsed["server->client"]
    if transport == "ws":
        target = parsed["server->client"].index((TEXT, b"127.0.0.1:7100"))
        assert parsed["server->client"][target + 1] == (BINARY, b"hello")
        assert (BINARY, b"echo:hello") in parsed["client->server"]


def test_server_frames_are_those_of_the_recorded_go_server() -> None:
    sent = [data for direction, data in recorded_frames("ws") if direction == "server->client"]
    target = encode(TEXT, b"127.0.0.1:7100", masked=False) + encode(BINARY, b"hello", masked=False)
    assert target in sent
    assert encode(BINARY, b"\x02", masked=False) in sent


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_every_form_of_header_equals_another_implementations(length: int, *, masked: bool) -> None:
    payload = os.urandom(length)
    frame = encode(BINARY, payload, masked=masked)
    assert parse_both_ways(frame, masked=masked) == [(BINARY, payload)]
    theirs = Frame(Opcode.BINARY, payload).serialize(mask=masked)
    header = len(frame) - length
    assert len(theirs) == len(frame)
    if masked:
        assert frame[header - 4 : header] == bytes(4)
        header -= 4
    assert theirs[:header] == frame[:header]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_a_header_is_put_into_the_hole_before_its_payload(length: int, *, masked: bool) -> None:
    payload = os.urandom(length)
    buffer = bytearray(b"\xff" * MAX_HEADER + payload)
    start = put_header(memoryview(buffer), MAX_HEADER, length, masked=masked)
    assert bytes(buffer[start:]) == encode(BINARY, payload, masked=masked)
    assert buffer[:start] == b"\xff" * start


@pytest.mark.parametrize(
    ("header", "length"), [("827e0005", 5), ("827f0000000000000005", 5), ("827f000000000000ffff", 65535)]
)
def test_a_length_need_not_be_in_the_shortest_form(header: str, length: int) -> None:
    assert parse(bytes.fromhex(header) + b"x" * length, masked=False) == [(BINARY, b"x" * length)]


@pytest.mark.parametrize(("frames", "text", "masked"), VIOLATIONS)
@pytest.mark.parametrize("cut", [lambda data: [data], each_byte], ids=["whole", "byte by byte"])
def test_violations_of_the_protocol(
    cut: Callable[[bytes], list[bytes]], frames: str, text: str, *, masked: bool
) -> None:
    with pytest.raises(WebSocketError, match=text) as caught:
        parse(*cut(bytes.fromhex(frames)), masked=masked)
    assert isinstance(caught.value, TransportError)


def test_frames_before_a_violation_are_delivered() -> None:
    recorder = Recorder()
    parser = FrameParser(recorder, expect_masked=False)
    with pytest.raises(WebSocketError):
        parser.feed(memoryview(encode(BINARY, b"good", masked=False) + b"\xc2\x00"))
    assert recorder.events == [(BINARY, b"good")]


def test_a_large_frame_is_delivered_piece_by_piece_without_a_copy() -> None:
    frame = bytearray(encode(BINARY, bytes(1000), masked=True))
    pieces: list[tuple[int, bool]] = []

    class Onlooker(Recorder):
        def on_payload(self, opcode: int, piece: memoryview, *, message_end: bool) -> None:
            assert opcode == BINARY
            assert piece.obj is frame
            pieces.append((len(piece), message_end))

    parser = FrameParser(Onlooker(), expect_masked=True)
    parser.feed(memoryview(frame)[:500])
    parser.feed(memoryview(frame)[500:])
    assert pieces == [(492, False), (508, True)]


def test_control_frames_may_come_between_fragments() -> None:
    frames = "0203616263" + "8901ff" + "0000" + "8a00" + "8003646566"
    assert parse_both_ways(bytes.fromhex(frames), masked=False) == [(PING, b"\xff"), (PONG, b""), (BINARY, b"abcdef")]


@pytest.mark.parametrize(
    ("frames", "between"),
    [("8203616263", True), ("82036162", False), ("0203616263", False), ("8905616263", True), ("89", True)],
    ids=["a message", "a part of one", "a fragment", "a part of a ping", "a part of a header"],
)
def test_a_parser_knows_whether_a_message_has_begun(frames: str, *, between: bool) -> None:
    parser = FrameParser(Recorder(), expect_masked=False)
    assert parser.between_messages
    parser.feed(memoryview(bytes.fromhex(frames)))
    assert parser.between_messages is between


@pytest.mark.parametrize("frames", ["8200", "02008000", "020000008000"])
def test_the_end_of_an_empty_message_is_delivered(frames: str) -> None:
    assert parse_both_ways(bytes.fromhex(frames), masked=False) == [(BINARY, b"")]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_after_a_stop_are_fed_again(size: int) -> None:
    sent = encode(BINARY, b"last", masked=True) + encode(TEXT, b"", masked=True)
    rest = encode(BINARY, b"of the next", masked=True) + encode(PING, b"", masked=True)[:3]
    recorder, heard = Recorder(), []

    def stop(opcode: int, payload: bytes) -> None:
        heard.append((opcode, payload))
        if opcode == TEXT:
            parser.stop()

    parser = FrameParser(MessageReader(100, stop, print), expect_masked=True)
    data = sent + rest
    for start in range(0, len(data), size):
        parser.feed(memoryview(data[start : start + size]))
    assert heard == [(BINARY, b"last"), (TEXT, b"")]
    parser.sink = recorder
    assert parser.go_on() == rest
    assert not parser.go_on()
    parser.feed(memoryview(rest))
    assert recorder.events == [(BINARY, b"of the next")]


def test_the_sink_may_be_replaced_between_two_messages_of_one_feed() -> None:
    later = Recorder()
    targets: list[bytes] = []

    def on_message(_opcode: int, message: bytes) -> None:
        targets.append(message)
        parser.sink = later

    parser = FrameParser(MessageReader(512, on_message, later.on_control), expect_masked=False)
    parser.feed(memoryview(encode(TEXT, b"7100", masked=False) + encode(BINARY, b"hello", masked=False)))
    assert targets == [b"7100"]
    assert later.events == [(BINARY, b"hello")]


def test_a_message_reader_collects_messages_and_passes_control_frames_on() -> None:
    events: list[tuple[int, bytes]] = []
    note = lambda opcode, payload: events.append((opcode, payload))  # noqa: E731  one line, used twice
    parser = FrameParser(MessageReader(6, note, note), expect_masked=False)
    for byte in bytes.fromhex("0203616263" + "8901ff" + "8003646566" + "8100" + "880203e8"):
        parser.feed(memoryview(bytes([byte])))
    assert events == [(PING, b"\xff"), (BINARY, b"abcdef"), (TEXT, b""), (CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("frames", ["020461626364" + "800165", "820561", "827f000000000000ffff" + "6162636465"])
def test_a_message_reader_refuses_long_messages(frames: str) -> None:
    messages: list[bytes] = []
    reader = MessageReader(4, lambda _, message: messages.append(message), lambda *_: None)
    parser = FrameParser(reader, expect_masked=False)
    data = bytes.fromhex(frames)
    with pytest.raises(WebSocketError, match="exceeds 4 bytes"):
        parser.feed(memoryview(data + bytes(4)))
    assert messages == []


def frames_of(opcode: int, fragments: list[bytes], mask: bytes) -> bytes:
    """Frame independently of the program, cut into any fragments and masked with any key."""
    stream = bytearray()
    for number, fragment in enumerate(fragments):
        final = number == len(fragments) - 1
        length = len(fragment)
        form = pack("!B", length) if length < 126 else pack("!BH", 126, length)
        first = (0x80 if final else 0) | (opcode if not number else 0)
        stream.append(first)
        stream += bytes([form[0] | (0x80 if mask else 0)]) + form[1:] + mask
        stream += bytes(byte ^ mask[index % 4] for index, byte in enumerate(fragment)) if mask else fragment
    return bytes(stream)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[int, bytes]], bytes, bool]:
    """Draw what one peer sends: its messages, the same as bytes, and whether it is a client."""
    masked = draw(st.booleans())
    keys = st.one_of(st.just(bytes(4)), st.binary(min_size=4, max_size=4)) if masked else st.just(b"")
    events, stream = [], b""
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([TEXT, BINARY, PING, PONG, CLOSE]))
        if opcode in {TEXT, BINARY}:
            fragments = draw(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
        else:
            fragments = [draw(st.binary(max_size=125))]
        events.append((opcode, b"".join(fragments)))
        stream += frames_of(opcode, fragments, draw(keys))
    return events, stream, masked


@given(conversations(), st.data())
def test_any_conversation_in_any_cut(
    conversation: tuple[list[tuple[int, bytes]], bytes, bool], data: st.DataObject
) -> None:
    events, stream, masked = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*chunks, masked=masked) == events


@given(chunks=st.lists(st.binary(max_size=60), max_size=5), masked=st.booleans())
def test_garbage_raises_only_the_documented_error(*, chunks: list[bytes], masked: bool) -> None:
    recorder = Recorder()
    parser = FrameParser(recorder, expect_masked=masked)
    try:
        for chunk in chunks:
            parser.feed(memoryview(chunk))
    except WebSocketError:
        pass
    assert sum(len(payload) for _, payload in recorder.events) <= sum(map(len, chunks))


def test_masks_are_removed_without_the_compiled_helper_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    websocket.load_mask.cache_clear()
    try:
        assert parse_both_ways(bytes.fromhex(f"8185{KEY}7f9f4d5158"), masked=True) == [(TEXT, b"Hello")]
    finally:
        websocket.load_mask.cache_clear()


def test_the_masking_library_is_loaded_only_for_real_masks_and_without_its_servers() -> None:
    program = f"""
import sys
from backhaul.wire.websocket import BINARY, FrameParser, MessageReader, encode
parser = FrameParser(MessageReader(99, lambda *_: None, lambda *_: None), expect_masked=True)
parser.feed(memoryview(encode(BINARY, b"plain", masked=True)))
assert "websockets" not in sys.modules
parser.feed(memoryview(bytes.fromhex("8185{KEY}7f9f4d5158")))
assert "websockets.speedups" in sys.modules
assert not any(name.startswith(("asyncio", "websockets.asyncio", "websockets.sync")) for name in sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True
    )


def test_empty_fragments_without_end_break_the_protocol() -> None:
    parser = FrameParser(Recorder(), expect_masked=False)
    parser.feed(memoryview(bytes.fromhex("0100") + bytes.fromhex("0000") * 1023))
    with pytest.raises(WebSocketError, match="more than 1024 fragments are empty"):
        parser.feed(memoryview(bytes.fromhex("0000")))
