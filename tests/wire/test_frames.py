import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire import base64url
from backhaul.wire.frames import (
    HEAD_SIZE,
    Frame,
    FrameKindError,
    FrameReader,
    FrameTooLongError,
    Sealed,
    encode,
    sealed_kind,
    sealed_message,
)
from backhaul.wire.signals import Signal

KINDS = st.integers(0, 255)


def read(data: bytes, cuts: list[int], limit: int = 65535) -> Frame | None:
    """Feed ``data``, cut at the offsets, to one reader; return the frame with all bytes after it."""
    reader = FrameReader(limit)
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if frame := reader.feed(data[start:end]):
            return frame._replace(rest=frame.rest + data[end:])
    return None


def test_the_handshake_of_the_transcript() -> None:
    assert encode(1, b"s3cret").hex() == "000601733363726574"


def test_the_length_counts_the_body_alone() -> None:
    assert encode(4, b"") == b"\x00\x00\x04"
    assert len(encode(4, b"abc")) == HEAD_SIZE + 3


def test_a_body_too_long_for_the_length_field_is_refused() -> None:
    assert encode(1, bytes(65535))[:2] == b"\xff\xff"
    with pytest.raises(struct.error):
        encode(1, bytes(65536))


@given(KINDS, st.binary(max_size=600), st.binary(max_size=40), st.data())
def test_a_frame_is_read_with_any_cuts(kind: int, body: bytes, rest: bytes, data: st.DataObject) -> None:
    wire = encode(kind, body) + rest
    cuts = data.draw(st.lists(st.integers(0, len(wire))))
    assert read(wire, cuts) == Frame(kind, body, rest)


@given(KINDS, st.binary(max_size=300))
def test_a_frame_is_read_byte_by_byte_and_not_before_its_end(kind: int, body: bytes) -> None:
    wire = encode(kind, body)
    reader = FrameReader(65535)
    answers = [reader.feed(wire[index : index + 1]) for index in range(len(wire))]
    assert answers == [None] * (len(wire) - 1) + [Frame(kind, body, b"")]


def test_a_frame_in_three_pieces() -> None:
    reader = FrameReader(65535)
    assert [reader.feed(piece) for piece in (b"\x00", b"\x03\x01ab", b"c!")] == [None, None, Frame(1, b"abc", b"!")]


def test_a_memoryview_is_read_like_bytes() -> None:
    assert FrameReader(9).feed(memoryview(encode(7, b"answer"))) == Frame(7, b"answer", b"")


def test_the_limit_itself_is_accepted() -> None:
    assert read(encode(1, bytes(1024)), [], limit=1024) == Frame(1, bytes(1024), b"")


def test_one_byte_above_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(FrameTooLongError, match="1025 bytes announced, at most 1024"):
        FrameReader(1024).feed(encode(1, bytes(1025))[:HEAD_SIZE])


def test_an_unexpected_kind_is_refused_before_its_body_arrives() -> None:
    assert FrameReader(9, frozenset({1})).feed(encode(1, b"a")) == Frame(1, b"a", b"")
    with pytest.raises(FrameKindError, match="unknown type 2"):
        FrameReader(9, frozenset({1})).feed(encode(2, b"a")[:HEAD_SIZE])


@given(st.binary(max_size=200), st.integers(0, 300))
def test_random_bytes_give_a_frame_or_the_announced_error_or_nothing(data: bytes, limit: int) -> None:
    announced = int.from_bytes(data[:2])
    if len(data) < HEAD_SIZE:
        assert FrameReader(limit).feed(data) is None
    elif announced > limit:
        with pytest.raises(FrameTooLongError):
            FrameReader(limit).feed(data)
    elif len(data) < HEAD_SIZE + announced:
        assert FrameReader(limit).feed(data) is None
    else:
        end = HEAD_SIZE + announced
        assert FrameReader(limit).feed(data) == Frame(data[2], data[HEAD_SIZE:end], data[end:])


@pytest.mark.parametrize("sealed", [Sealed.HANDSHAKE, Sealed.ADMISSION])
@given(message=st.binary(max_size=200), bits=st.integers(0, 255))
def test_a_sealed_message_is_text_after_a_type_with_six_random_bits(sealed: Sealed, message: bytes, bits: int) -> None:
    frame = FrameReader(300).feed(sealed.frame(message, bits))
    assert frame
    assert sealed_kind(frame.kind) is sealed
    assert (frame.kind ^ bits) & 0x3F == 0
    assert frame.body == base64url.encode(message)
    assert sealed_message(frame.body) == message


def test_no_type_of_v072_is_that_of_a_sealed_message() -> None:
    assert {sealed_kind(signal) for signal in Signal} == {Sealed.NOTHING}
    found = [sealed_kind(kind) for kind in range(256)]
    assert found == [Sealed.NOTHING] * 128 + [Sealed.HANDSHAKE] * 64 + [Sealed.ADMISSION] * 64
