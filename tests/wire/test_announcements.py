import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.announcements import (
    ANNOUNCEMENT_SIZE,
    PING,
    Announcement,
    announce,
    announces,
    assign,
    read_announcement,
    read_assignment,
)

TICKET, TUNNEL = bytes(range(16)), b"tunnel 1"


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=8), st.booleans())
def test_an_announcement_is_read_back(ticket: bytes, tunnel: bytes, assigned: bool) -> None:  # noqa: FBT001
    announcement = Announcement(tunnel, assigned)
    datagram = announce(ticket, announcement)
    assert len(datagram) == ANNOUNCEMENT_SIZE
    assert read_announcement(ticket, memoryview(datagram)) == announcement
    assert announces(tunnel, memoryview(datagram))


@pytest.mark.parametrize("assigned", [False, True])
def test_an_announcement_byte_for_byte(assigned: bool) -> None:  # noqa: FBT001
    announcement = Announcement(TUNNEL, assigned)
    assert announce(TICKET, announcement) == TICKET + TUNNEL + bytes([assigned])
    assert read_announcement(TICKET, announce(TICKET, announcement)) == announcement


def test_a_datagram_without_the_ticket_announces_nothing() -> None:
    datagram = announce(TICKET, Announcement(TUNNEL, assigned=False))
    assert read_announcement(b"\xff" + TICKET[1:], datagram) is None
    assert read_announcement(b"", datagram) is None
    assert read_announcement(TICKET, datagram + b"!") is None
    assert read_announcement(TICKET, datagram[:-1]) is None


def test_an_announcement_with_an_old_ticket_is_still_no_payload() -> None:
    datagram = announce(bytes(16), Announcement(TUNNEL, assigned=True))
    assert announces(TUNNEL, datagram)
    assert not announces(b"tunnel 2", datagram)
    assert not announces(TUNNEL, datagram[:-1])


def test_an_assignment_as_on_the_wire() -> None:
    assert assign(b"", "127.0.0.1:7100").hex() == "3132372e302e302e313a37313030"
    assert read_assignment(b"", memoryview(b"127.0.0.1:7100")) == "127.0.0.1:7100"


def test_a_ping_assigns_nothing() -> None:
    assert read_assignment(b"", memoryview(PING)) is None
    assert read_assignment(TICKET, memoryview(PING)) is None


def test_with_a_ticket_no_payload_names_a_target() -> None:
    assert read_assignment(TICKET, assign(TICKET, "[::1]:53")) == "[::1]:53"
    assert read_assignment(TICKET, b"127.0.0.1:22") is None
    assert read_assignment(TICKET, b"") is None


@given(st.binary(max_size=60))
def test_any_datagram_is_read_without_an_error(datagram: bytes) -> None:
    assert read_announcement(TICKET, datagram) is None
    assert read_assignment(TICKET, datagram) is None
    assert (read_assignment(b"", datagram) is None) == (datagram == PING)
