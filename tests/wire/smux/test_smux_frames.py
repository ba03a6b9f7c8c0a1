"""Single frames."""

import pytest

from backhaul.wire.smux import is_nop


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x01\x03\x00\x00\x00\x00\x00\x00", True),
        (b"\x02\x03\x00\x00\xfe\xff\xff\xff more", True),  # with an id, as in the hello of this program
        (b"\x01\x03\x00\x00\x00\x00\x00", False),  # cut
        (b"", False),
        (b"\x03\x03\x00\x00\x00\x00\x00\x00", False),  # no version of smux
        (b"\x01\x00\x00\x00\x03\x00\x00\x00", False),  # opens a stream
        (b"\x01\x03\x06\x00\x00\x00\x00\x00", False),  # the length of a handshake
    ],
)
def test_a_nop_is_known_by_its_header(data: bytes, *, expected: bool) -> None:
    assert is_nop(data) is expected
    assert is_nop(memoryview(data)) is expected
