"""Socket options that the kernel has, and those of TCP on a socket that has none of them."""

import errno
import socket
from collections.abc import Iterator

import pytest

from backhaul.net.options import info, offer, offer_tcp, replace

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
KEEPALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        yield sock


def test_what_the_kernel_has_is_set(tcp: socket.socket) -> None:
    offer(tcp, *NODELAY, 1)
    offer_tcp(tcp, "TCP_MAXSEG", 1000)
    offer_tcp(tcp, "TCP_OF_ANOTHER_SYSTEM", 1)
    assert tcp.getsockopt(*NODELAY)
    assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == 1000


def test_what_the_kernel_lacks_is_left(unix: socket.socket) -> None:
    offer(unix, *NODELAY, 1)
    offer_tcp(unix, "TCP_NODELAY", 1)
    assert info(unix, 3) == bytes(3)


def test_options_are_replaced_and_restored(tcp: socket.socket) -> None:
    former = replace(tcp, ((*NODELAY, 1), (*KEEPALIVE, 1)))
    assert (tcp.getsockopt(*NODELAY) > 0, tcp.getsockopt(*KEEPALIVE) > 0) == (True, True)
    assert former == [(*NODELAY, 0), (*KEEPALIVE, 0)]
    replace(tcp, former)
    assert (tcp.getsockopt(*NODELAY), tcp.getsockopt(*KEEPALIVE)) == (0, 0)


def test_only_known_options_are_replaced(unix: socket.socket) -> None:
    assert replace(unix, ((*NODELAY, 1), (*KEEPALIVE, 1))) == [(*KEEPALIVE, 0)]
    assert unix.getsockopt(*KEEPALIVE)


def test_figures_that_the_kernel_does_not_have_are_zero(tcp: socket.socket) -> None:
    assert len(info(tcp, 1024)) == 1024
    assert info(tcp, 1024)[-1] == 0


def test_a_closed_socket_is_an_error(tcp: socket.socket) -> None:
    tcp.close()
    for call in (lambda: offer(tcp, *NODELAY, 1), lambda: replace(tcp, [(*NODELAY, 1)]), lambda: info(tcp, 1)):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF
