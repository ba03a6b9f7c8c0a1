"""The bytes that had arrived when a connection broke."""

import socket
from collections.abc import Iterator

import pytest

from backhaul.relay.rest import read_rest


@pytest.fixture
def broken() -> Iterator[socket.socket]:
    """Yield a socket in which ten bytes wait."""
    near, far = socket.socketpair()
    with near, far:
        far.send(b"0123456789")
        yield near


def test_all_bytes_are_read(broken: socket.socket) -> None:
    read: list[bytes] = []
    read_rest(broken, lambda: read.append(broken.recv(4)), lambda: False)
    assert read == [b"0123", b"4567", b"89"]


def test_nothing_is_read_when_it_is_over(broken: socket.socket) -> None:
    read: list[bytes] = []
    read_rest(broken, lambda: read.append(broken.recv(4)), lambda: bool(read))
    assert read == [b"0123"]


def test_bytes_that_can_not_be_read_are_left(broken: socket.socket) -> None:
    tries: list[int] = []

    def fail() -> None:
        """Fail as a relay does: it reads the rest."""
        tries.append(1)
        read_rest(broken, fail, lambda: False)

    for attempts in (1, 2):
        read_rest(broken, fail, lambda: False)
        assert len(tries) == attempts
    assert broken.recv(99) == b"0123456789"
