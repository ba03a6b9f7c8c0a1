import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.strings import StringReader, StringTooLongError, encode_string


def test_the_target_of_a_stream_byte_for_byte() -> None:
    assert encode_string(b"127.0.0.1:80") == b"\x00\x0c127.0.0.1:80"


def test_a_string_too_long_for_its_length_field_is_refused() -> None:
    with pytest.raises(struct.error):
        encode_string(bytes(65536))


def test_a_string_in_three_pieces_and_the_bytes_after_it() -> None:
    reader = StringReader(9)
    assert [reader.feed(piece) for piece in (b"\x00", b"\x03ab", b"c!")] == [None, None, (b"abc", b"!")]


def test_the_limit_itself_is_accepted_and_one_byte_more_refused_early() -> None:
    assert StringReader(3).feed(b"\x00\x03abc") == (b"abc", b"")
    with pytest.raises(StringTooLongError, match="4 bytes announced, at most 3"):
        StringReader(3).feed(b"\x00\x04")


@given(st.binary(max_size=300), st.binary(max_size=20), st.integers(1, 40))
def test_a_string_is_read_with_any_cuts(text: bytes, rest: bytes, step: int) -> None:
    wire = encode_string(text) + rest
    reader = StringReader(300)
    for start in range(0, len(wire), step):
        if (found := reader.feed(memoryview(wire)[start : start + step])) is not None:
            string, behind = found
            assert (string, behind + wire[start + step :]) == (text, rest)
            return
    pytest.fail("the string was whole and not told")
