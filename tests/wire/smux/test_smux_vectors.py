"""Recordings of the Go library: the same script makes the session write the same, and it reads the recording back."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.wire.smux.ends import End, pattern, split

from backhaul.wire.smux import Role, Settings, SmuxError, State
from backhaul.wire.smux.frames import FIN, NOP, PSH, SYN, UPD, pack_frame

Vector = dict[str, Any]
DATA = Path(__file__).parents[2] / "data" / "smux_vectors.json"
VECTORS: dict[str, Vector] = {vector["name"]: vector for vector in json.loads(DATA.read_text())["vectors"]}
ROLES = {"client": Role.CLIENT, "server": Role.SERVER}


def base_name(name: str) -> str:
    """Return the scenario without version and side."""
    return re.sub(r"_v[12]_(client|server)$", "", name)


def settings_of(vector: Vector) -> Settings:
    config = vector["config"]
    return Settings(
        version=vector["version"],
        max_frame=config["max_frame_size"],
        receive_buffer=config["max_receive_buffer"],
        stream_buffer=config["max_stream_buffer"],
        keepalive_interval=config["keepalive_interval_ms"] / 1000,
        keepalive_timeout=config["keepalive_timeout_ms"] / 1000,
    )


def data_of(record: Vector, *, continued: bool) -> list[bytes]:
    """Return the frames of a vector (or of its inbound part) as bytes.

    Long payloads are not in the file. They follow the pattern, which continues from frame to frame of a stream or
    restarts in each. The hash decides between the two.
    """
    frames, offsets = [], dict.fromkeys((frame["sid"] for frame in record["frames"]), 0)
    for frame in record["frames"]:
        payload = bytes.fromhex(frame["payload_hex"])
        if frame.get("payload_truncated"):
            payload = pattern(frame["len"], offsets[frame["sid"]] if continued else 0)
        offsets[frame["sid"]] += len(payload) if frame["cmd"] == "PSH" else 0
        frames.append(pack_frame(frame["ver"], frame["cmd_value"], frame["sid"], payload))
    assert hashlib.sha256(b"".join(frames)).hexdigest() == record["sha256"]
    return frames


def assert_written(vector: Vector, data: bytes) -> None:
    expected = [(frame["cmd_value"], frame["sid"], frame["len"]) for frame in vector["frames"]]
    assert [(frame.command, frame.stream_id, frame.length) for frame in split(data)] == expected
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]


# --- scripts of one end; a number is the stream's, in order of appearance ---


def opens(end: End, count: int = 1) -> None:
    for _ in range(count):
        end.open()


def writes(end: End, number: int, data: bytes) -> None:
    end.pipes[number].write(data)


def reads(end: End, number: int, size: int) -> None:
    assert end.pipes[number].read(size)


def closes(end: End, number: int) -> None:
    end.pipes[number].close()


def receives(end: End, *frames: bytes) -> None:
    for frame in frames:
        end.feed(frame)


def is_blocked(end: End, number: int) -> None:
    assert end.pipes[number].stream.sendable() == 0


def ticks(end: End, now: float) -> None:
    end.session.tick(now)


Step = tuple[Any, ...]
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
TARGET = b"\x00\x0e127.0.0.1:8080"

WRITING: dict[str, list[Step]] = {
    "open": [(opens,)],
    "open_write5": [(opens,), (writes, 0, b"hello")],
    "open_write0": [(opens,), (writes, 0, b""), (writes, 0, b"")],
    "open_write100000": [(opens,), (writes, 0, pattern(100000))],
    "open_close": [(opens,), (closes, 0)],
    "open_write5_close": [(opens,), (writes, 0, b"hello"), (closes, 0), (closes, 0), (is_blocked, 0)],
    "three_streams": [
        (opens, 3),
        (writes, 0, b"one-a"),
        (writes, 1, b"two-a"),
        (writes, 2, b"three-a"),
        (writes, 2, b"three-b"),
        (writes, 0, b"one-b"),
        (closes, 1),
        (writes, 0, b"one-c"),
        (closes, 0),
        (closes, 2),
    ],
    "backhaul_open": [(opens,), (writes, 0, TARGET), (writes, 0, REQUEST), (closes, 0)],
    "framesize_1": [(opens,), (writes, 0, pattern(4))],
    "framesize_1024": [(opens,), (writes, 0, pattern(2500))],
    "framesize_65535": [(opens,), (writes, 0, pattern(131077))],
    "keepalive_nop": [(ticks, 0.19), (ticks, 0.21), (ticks, 0.39), (ticks, 0.41), (ticks, 0.61)],
}

ANSWERING: dict[str, Callable[[list[bytes]], list[Step]]] = {
    "recv_fin": lambda f: [(receives, *f), (reads, 0, 100), (writes, 0, b"bye"), (closes, 0)],
    "recv_fin_opener": lambda f: [
        (opens,),
        (writes, 0, b"hi"),
        (receives, f[0]),
        (closes, 0),
        (receives, *f[1:]),
        (opens,),
    ],
    "psh_after_fin": lambda f: [(receives, *f), (reads, 0, 100)],
    "tolerated": lambda f: [(receives, *f), (reads, 0, 100)],
    "v2_window_script": lambda f: [(opens,), (writes, 0, pattern(400000)), (receives, *f)],
    "v2_fin_while_blocked": lambda f: [
        (opens,),
        (writes, 0, pattern(400000)),
        (receives, *f),
        (is_blocked, 0),
        (closes, 0),
    ],
    "v2_consumed_arithmetic": lambda f: [
        (opens,),
        (writes, 0, b"12345"),
        (receives, f[0]),
        (is_blocked, 0),
        (receives, f[1]),
        (writes, 0, b"abc"),
        (receives, f[2]),
        (is_blocked, 0),
        (writes, 0, b"zz"),
        (receives, f[3]),
    ],
    "v2_recv_small": lambda f: [(receives, *f), *reading(2, 100, 100, 100)],
    "v2_recv_threshold": lambda f: [(receives, *f), *reading(*[65536] * 6)],
    "v2_recv_bigframes": lambda f: [(receives, *f), *reading(*[16384] * 12)],
    "v2_recv_sb1": lambda f: [(receives, *f), *reading(*[1] * 6)],
    "v2_recv_sb262144": lambda f: [(receives, *f), *reading(*[65535] * 3)],
    "v2_close_unread": lambda f: [(receives, *f), (closes, 0)],
}


def reading(*sizes: int) -> list[Step]:
    return [(reads, 0, size) for size in sizes]


BROKEN = ("version_mismatch", "unknown_cmd")
PAIRED = ("echo", "bulk300000")


def names(*prefixes: str) -> list[str]:
    return [name for name in VECTORS if base_name(name).startswith(prefixes)]


def names_in(scripts: Iterable[str]) -> list[str]:
    return [name for name in VECTORS if base_name(name) in scripts]


def test_every_vector_has_its_script() -> None:
    played = [*names_in(WRITING), *names_in(ANSWERING), *names_in(BROKEN), *names(*PAIRED)]
    assert sorted(played) == sorted(VECTORS)
    assert len(played) == 89


def play(end: End, steps: list[Step]) -> bytes:
    for action, *arguments in steps:
        action(end, *arguments)
        end.collect()
    return end.take()


@pytest.mark.parametrize("name", names_in(WRITING))
def test_writes_the_same(name: str) -> None:
    vector = VECTORS[name]
    assert_written(vector, play(End(ROLES[vector["side"]], settings_of(vector)), WRITING[base_name(name)]))


@pytest.mark.parametrize("name", names_in(ANSWERING))
def test_answers_the_same(name: str) -> None:
    vector = VECTORS[name]
    inbound = data_of(vector["inbound"], continued=False)
    end = End(ROLES[vector["side"]], settings_of(vector))
    assert_written(vector, play(end, ANSWERING[base_name(name)](inbound)))


def test_tolerated_frames_have_their_meaning() -> None:
    for name in names_in(["tolerated"]):
        vector = VECTORS[name]
        end = End(Role.SERVER, settings_of(vector))
        end.feed(b"".join(data_of(vector["inbound"], continued=False)))
        assert [pipe.stream.id for pipe in end.pipes] == [3, 4, 0]
        assert end.pipes[0].read(100) == b"ok"


@pytest.mark.parametrize("name", names_in(BROKEN))
def test_broken_input_ends_the_session(name: str) -> None:
    """The Go library silently stops reading but continues to write; this session fails at once and writes nothing."""
    vector = VECTORS[name]
    end = End(Role.SERVER, settings_of(vector))
    syn, broken, late_syn = data_of(vector["inbound"], continued=False)
    end.feed(syn)
    with pytest.raises(SmuxError, match="mux_version" if "mismatch" in name else "command 5"):
        end.feed(broken)
    end.feed(late_syn)
    assert [pipe.stream.state for pipe in end.pipes] == [State.LOST]
    assert end.take() == b""


# --- scripts of two ends, with the wire quiet between the steps ---


class Pair:
    """Both ends of a vector, and the bytes they wrote in the vector's global order."""

    def __init__(self, settings: Settings) -> None:
        self.client, self.server = End(Role.CLIENT, settings), End(Role.SERVER, settings)
        self.written = {"client": b"", "server": b""}
        self.trace: list[tuple[str, int, int, int]] = []

    def settle(self) -> None:
        while self._carry("client", self.client, self.server) or self._carry("server", self.server, self.client):
            pass

    def _carry(self, name: str, source: End, target: End) -> bool:
        data = source.take()
        self.written[name] += data
        self.trace += [(name, frame.command, frame.stream_id, frame.length) for frame in split(data)]
        target.feed(data)
        return bool(data)


def play_echo(pair: Pair) -> None:
    opener = pair.client.open()
    opener.write(b"ping!")
    pair.settle()
    acceptor = pair.server.pipes[0]
    assert acceptor.read(5) == b"ping!"
    acceptor.write(b"pong!")
    pair.settle()
    assert opener.read(5) == b"pong!"
    opener.close()
    pair.settle()
    acceptor.close()
    pair.settle()


def play_bulk(pair: Pair, read_size: int) -> None:
    opener = pair.client.open()
    opener.write(pattern(300000))
    pair.settle()
    acceptor = pair.server.pipes[0]
    while acceptor.read(read_size):
        pair.settle()
    assert acceptor.received == pattern(300000)
    opener.close()
    pair.settle()
    acceptor.close()
    pair.settle()


@pytest.mark.parametrize("name", [name for name in names(*PAIRED) if name.endswith("client")])
def test_both_ends_write_the_same(name: str) -> None:
    vector, other = VECTORS[name], VECTORS[name.replace("client", "server")]
    pair = Pair(settings_of(vector))
    if base_name(name) == "echo":
        play_echo(pair)
    else:
        size = re.search(r"read(\d+)", name)  # a "writeto" takes whole frames, as a large read does
        play_bulk(pair, int(size.group(1)) if size else 65535)
    assert_written(vector, pair.written["client"])
    assert_written(other, pair.written["server"])
    traced = [(frame["from"], frame["cmd_value"], frame["sid"], frame["len"]) for frame in vector["trace"]]
    assert pair.trace == traced
    assert len(pair.client.session) == len(pair.server.session) == 0


# --- reading back ---


def consumed(frames: list[bytes]) -> dict[int, int]:
    """Return how many bytes of each stream these frames report as consumed."""
    updates = [frame for frame in split(b"".join(frames)) if frame.command == UPD]
    return {frame.stream_id: int.from_bytes(frame.payload[:4], "little") for frame in updates}


def reader_of(vector: Vector, frames: list[bytes]) -> End:
    """Return the other end, with the streams open that the vector's side did not open itself.

    It has sent as many bytes as these frames report as consumed.
    """
    role = Role.SERVER if vector["side"] == "client" else Role.CLIENT
    reader = End(role, settings_of(vector), at_once=True, to_send=consumed(frames))
    opened = {frame["sid"] for frame in vector["frames"] if frame["cmd_value"] == SYN}
    for stream_id in sorted({frame["sid"] for frame in vector["frames"]} - opened - {0}):
        assert reader.open().stream.id == stream_id
    reader.take()
    return reader


def assert_read(vector: Vector, reader: End, frames: list[bytes]) -> None:
    """Compare with a plain reading of the frames: the bytes of each stream, its end, and its window."""
    for pipe in reader.pipes:
        own = [frame for frame in split(b"".join(frames)) if frame.stream_id == pipe.stream.id]
        assert pipe.received == b"".join(frame.payload for frame in own if frame.command == PSH)
        assert pipe.events.count("fin") == sum(frame.command == FIN for frame in own)
        if vector["version"] == 2 and any(frame.command == UPD for frame in own):
            last = [frame.payload for frame in own if frame.command == UPD][-1]
            window = int.from_bytes(last[4:], "little")
            assert window == reader.session.settings.stream_buffer
            assert pipe.stream.sendable() == window
    syns = [frame["sid"] for frame in vector["frames"] if frame["cmd_value"] == SYN]
    assert [pipe.stream.id for pipe in reader.pipes][-len(syns) or len(reader.pipes) :] == syns
    assert reader.session.room == reader.session.settings.receive_buffer
    with contextlib.nullcontext() if frames else pytest.raises(SmuxError, match="sent nothing"):
        reader.session.tick(reader.session.settings.keepalive_timeout)


@pytest.mark.parametrize("name", VECTORS)
def test_reads_whole(name: str) -> None:
    vector = VECTORS[name]
    frames = data_of(vector, continued=True)
    reader = reader_of(vector, frames)
    reader.feed(b"".join(frames))
    assert_read(vector, reader, frames)


@pytest.mark.parametrize("name", VECTORS)
def test_reads_byte_by_byte(name: str) -> None:
    """Long payloads are fed in larger pieces in their middle, to save time."""
    vector = VECTORS[name]
    frames = data_of(vector, continued=True)
    reader = reader_of(vector, frames)
    for frame in frames:
        reader.feed_bytewise(frame[:64])
        reader.feed(frame[64:-8])
        reader.feed_bytewise(frame[64:][-8:])
    assert_read(vector, reader, frames)


def test_nops_are_read_and_change_nothing() -> None:
    for name in names_in(["keepalive_nop"]):
        frames = data_of(VECTORS[name], continued=True)
        assert [frame.command for frame in split(b"".join(frames))] == [NOP] * 3
        reader = reader_of(VECTORS[name], frames)
        reader.feed(b"".join(frames))
        assert (reader.pipes, reader.take()) == ([], b"")
