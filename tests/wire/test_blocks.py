"""Blocks of users' bytes in clear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.blocks import (
    END,
    FREE,
    HEADER_SIZE,
    MAX_BODY,
    MAX_PAYLOAD,
    PAYLOAD,
    RESET,
    BlockError,
    BlockReader,
    encode,
    encode_end,
    payload_header,
    put_header,
    taken_of,
)

BLOCKS = st.lists(
    st.tuples(st.just(PAYLOAD), st.binary(max_size=200)) | st.tuples(st.integers(1, 255), st.binary(max_size=MAX_BODY)),
    max_size=12,
)


class Reader(BlockReader):
    """Collects what it reads; the payload between two other blocks in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, bytes]] = []

    def on_payload(self, piece: memoryview) -> None:
        """Collect payload."""
        assert piece
        before = self.found.pop()[1] if self.found and self.found[-1][0] == PAYLOAD else b""
        self.found.append((PAYLOAD, before + piece))

    def on_block(self, kind: int, body: bytes) -> None:
        """Collect another block."""
        self.found.append((kind, body))


def wire(kind: int, body: bytes) -> bytes:
    """Return a block."""
    return encode(kind, body) if kind else payload_header(len(body)) + body


def joined(sent: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return blocks as a reader collects them."""
    reader = Reader()
    for kind, body in sent:
        if kind:
            reader.on_block(kind, body)
        elif body:
            reader.on_payload(memoryview(body))
    return reader.found


@given(BLOCKS, st.lists(st.integers(1, 90), max_size=40))
def test_blocks_arrive_however_their_bytes_are_cut(sent: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data, reader = memoryview(b"".join(wire(*block) for block in sent)), Reader()
    for cut in cuts:
        reader.feed(data[:cut])
        data = data[cut:]
    reader.feed(data)
    assert reader.found == joined(sent)
    assert reader.between_blocks


@given(BLOCKS)
def test_blocks_arrive_byte_by_byte(sent: list[tuple[int, bytes]]) -> None:
    reader = Reader()
    for byte in b"".join(wire(*block) for block in sent):
        reader.feed(memoryview(bytes([byte])))
    assert reader.found == joined(sent)


@pytest.mark.parametrize("block", [payload_header(2) + b"ab", encode(RESET), encode(FREE, b"abc")])
def test_a_part_of_a_block_is_not_between_blocks(block: bytes) -> None:
    for length in range(1, len(block)):
        reader = Reader()
        reader.feed(memoryview(block[:length]))
        assert not reader.between_blocks


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_bytes_after_a_stop_are_kept(size: int) -> None:
    class Stopping(Reader):
        def on_block(self, kind: int, body: bytes) -> None:
            super().on_block(kind, body)
            self.stop()

    reader = Stopping()
    sent = wire(PAYLOAD, b"last") + encode_end(4) + wire(PAYLOAD, b"of the next") + b"\x01"
    for start in range(0, len(sent), size):
        reader.feed(memoryview(sent[start : start + size]))
    assert reader.found == [(PAYLOAD, b"last"), (END, encode_end(4)[HEADER_SIZE:])]
    assert reader.rest() == wire(PAYLOAD, b"of the next") + b"\x01"
    assert reader.between_blocks


def test_an_end_tells_how_many_bytes_were_taken() -> None:
    for taken in (0, 7, (1 << 64) - 1):
        assert taken_of(encode_end(taken)[HEADER_SIZE:]) == taken
    with pytest.raises(BlockError):
        taken_of(bytes(7))


def test_payload_that_was_taken_elsewhere_is_left_out() -> None:
    reader = Reader()
    reader.feed(memoryview(payload_header(1000) + b"abc"))
    assert reader.left == 997
    reader.skip(990)
    reader.feed(memoryview(b"d" * 7 + encode(END)))
    assert reader.found == [(PAYLOAD, b"abc" + b"d" * 7), (END, b"")]


def test_the_largest_payload_is_announced() -> None:
    reader = Reader()
    reader.feed(memoryview(payload_header(MAX_PAYLOAD)))
    assert reader.left == MAX_PAYLOAD


def test_a_header_is_written_in_place() -> None:
    memory = bytearray(HEADER_SIZE + 2)
    put_header(memoryview(memory), 1, 77)
    assert memory[1:-1] == payload_header(77)


@pytest.mark.parametrize("cut", range(1, HEADER_SIZE + 1))
def test_a_block_that_is_too_long_to_be_kept_is_refused(cut: int) -> None:
    header, reader = encode(FREE, bytes(MAX_BODY + 1))[:HEADER_SIZE], Reader()
    reader.feed(memoryview(header[: cut - 1]))
    with pytest.raises(BlockError, match=f"kind {FREE} and {MAX_BODY + 1} bytes"):
        reader.feed(memoryview(header[cut - 1 :]))


@given(st.binary(max_size=300))
def test_other_bytes_are_blocks_or_the_announced_error(data: bytes) -> None:
    whole, single = Reader(), Reader()
    outcomes = [refusal(whole, [data]), refusal(single, [bytes([byte]) for byte in data])]
    assert outcomes[0] == outcomes[1]
    assert whole.found == single.found


def refusal(reader: Reader, pieces: list[bytes]) -> str:
    """Return the error of a reader; empty if there is none."""
    try:
        for piece in pieces:
            reader.feed(memoryview(piece))
    except BlockError as error:
        return str(error)
    return ""
