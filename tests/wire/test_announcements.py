import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.wire.announcements import (
    ANNOUNCEMENT_SIZES,
    BLOCK_BITS,
    IDLE,
    MAX_PADDING,
    Announcement,
    Assignment,
    announce,
    assign,
    assignment_sizes,
    block_of,
    read_announcement,
    read_assignment,
)

TUNNEL = b"tunnel 1"
tunnels, numbers = st.binary(min_size=8, max_size=8), st.integers(0, (1 << 64) - 1)
paddings = st.integers(0, MAX_PADDING)


@given(st.builds(Announcement, tunnels, numbers), paddings)
def test_an_announcement_is_read_back(announcement: Announcement, padding: int) -> None:
    message = announce(announcement, padding)
    assert len(message) == ANNOUNCEMENT_SIZES[padding]
    assert read_announcement(message) == announcement


@given(st.builds(Assignment, tunnels, numbers, st.text(CHARACTERS, max_size=300)), paddings)
def test_an_assignment_is_read_back(assignment: Assignment, padding: int) -> None:
    message = assign(assignment, padding)
    assert len(message) == assignment_sizes(assignment.target)[padding]
    assert read_assignment(message) == assignment


def test_messages_byte_for_byte() -> None:
    assert announce(Announcement(TUNNEL, IDLE), 0) == TUNNEL + bytes(8)
    assert announce(Announcement(TUNNEL, 7), 2) == TUNNEL + bytes(7) + b"\x07" + bytes(2)
    assert assign(Assignment(TUNNEL, 7, "[::1]:53"), 1) == TUNNEL + bytes(7) + b"\x07\x00\x08[::1]:53\x00"


@pytest.mark.parametrize("size", [0, 15, 16 + MAX_PADDING + 1])
def test_an_announcement_of_another_size_is_malformed(size: int) -> None:
    assert read_announcement(bytes(size)) is None


def test_an_assignment_that_is_cut_is_malformed() -> None:
    message = assign(Assignment(TUNNEL, 7, "[::1]:53"), 0)
    assert all(read_assignment(message[:size]) is None for size in range(len(message)))


@given(st.binary(max_size=100))
def test_any_message_is_read_without_an_error(message: bytes) -> None:
    assert (read_announcement(message) is None) == (len(message) not in ANNOUNCEMENT_SIZES)
    assert (read_assignment(message) is None) == (18 + int.from_bytes(message[16:18]) > len(message))


@given(numbers, st.binary(max_size=40))
def test_the_block_of_a_sealed_message_is_the_high_part_of_its_number(number: int, rest: bytes) -> None:
    assert block_of(memoryview(number.to_bytes(8) + rest)) == number >> BLOCK_BITS
