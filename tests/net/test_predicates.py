"""The questions to the kernel about a socket."""

import socket
import struct
from collections.abc import Callable

import pytest
from tests.support.net import HOST

from backhaul.net.predicates import is_established, retransmissions

RESET = struct.pack("ii", 1, 0)


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server((HOST, 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


@pytest.mark.parametrize("make", [tcp, socket.socketpair])
class TestIsEstablished:
    def test_until_the_peer_ends(self, make: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
        near, far = make()
        with near, far:
            near.setblocking(False)
            assert is_established(near)
            far.send(b"bytes are no end")
            assert is_established(near)
            near.recv(100)
            far.shutdown(socket.SHUT_WR)
            assert not is_established(near)

    def test_until_the_peer_resets(self, make: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
        near, far = make()
        with near:
            near.setblocking(False)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            far.close()
            assert not is_established(near)


class Emulated(socket.socket):
    """A socket of qemu-user, which fills only the first of fewer than four bytes, and never more than four."""

    def getsockopt(self, level: int, option: int, size: int = 0) -> bytes:  # type: ignore[override]
        del level, option
        return b"\x01\0\0\0" if size >= 4 else b"\x01\xad\xa2"[:size]


def test_an_emulated_kernel_tells_of_no_retransmission() -> None:
    with Emulated() as sock:
        assert retransmissions(sock) == 0
