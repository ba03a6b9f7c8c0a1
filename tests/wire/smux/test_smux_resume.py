"""The commands of sessions that can be resumed, and bytes that a lost connection has cut."""

import pytest
from tests.wire.smux.ends import End, psh, syn

from backhaul.wire.smux import HEADER_SIZE, Role, Settings, SmuxError
from backhaul.wire.smux.frames import ACK, ASK, BYE, pack_frame

ACKNOWLEDGEMENT = pack_frame(1, ACK, 0xFFFF_FFF0)


@pytest.mark.parametrize("size", range(1, 2 * HEADER_SIZE + 1))
def test_acknowledgements_and_the_end_are_told_however_they_are_cut(size: int) -> None:
    end = End(Role.SERVER, resumes=True)
    data = ACKNOWLEDGEMENT + pack_frame(1, ASK, 0) + pack_frame(1, BYE, 0)
    for start in range(0, len(data), size):
        end.feed(data[start : start + size])
    assert (end.acks, end.asks, end.byes) == ([0xFFFF_FFF0], 1, 1)


def test_they_are_not_counted() -> None:
    end = End(Role.SERVER, at_once=True, resumes=True)
    end.feed(syn(3) + ACKNOWLEDGEMENT + psh(3, b"abc")[:-1] + pack_frame(1, ASK, 0)[:1])
    assert end.session.received == 2 * HEADER_SIZE + 3


def test_they_are_signs_of_life() -> None:
    end = End(Role.SERVER, Settings(keepalive_timeout=1.0), resumes=True)
    end.feed(ACKNOWLEDGEMENT)
    end.session.tick(1.5)
    with pytest.raises(SmuxError):
        end.session.tick(2.5)


@pytest.mark.parametrize("data", [ACKNOWLEDGEMENT, pack_frame(1, ASK, 0), pack_frame(1, BYE, 0)])
def test_they_end_other_sessions(data: bytes) -> None:
    with pytest.raises(SmuxError, match="unknown smux command"):
        End(Role.SERVER).feed(data)


def test_they_end_a_session_of_another_version() -> None:
    with pytest.raises(SmuxError, match="version 2"):
        End(Role.SERVER, resumes=True).feed(pack_frame(2, ACK, 0))


@pytest.mark.parametrize("cut", range(1, HEADER_SIZE))
def test_the_beginning_of_a_header_can_be_forgotten_and_repeated(cut: int) -> None:
    end = End(Role.SERVER, at_once=True)
    end.feed(syn(3) + psh(3, b"abc")[: HEADER_SIZE + 1])
    assert end.session.cut == 0
    end.feed(b"bc" + psh(3, b"def")[:cut])
    assert end.session.cut == cut
    received = end.session.received
    end.session.change_transport()
    assert (end.session.cut, end.session.received) == (0, received - cut)
    end.feed(psh(3, b"def"))
    assert end.pipe(3).received == b"abcdef"
