"""Listening sockets that outlive a server: shared with the next process, or inherited by it."""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from tests.support.net import HOST, free_port

from backhaul.net.inherited import join
from backhaul.net.listeners import Listeners, WithheldListeners
from backhaul.net.sockets import SocketOptions

OPTIONS = SocketOptions()
WILDCARD = ["127.0.0.1", "::1", ""]


class Kept:
    """A depot whose copies a test can inspect."""

    def __init__(self) -> None:
        self.copies: dict[str, socket.socket] = {}
        self.dropped: list[str] = []

    def keep(self, name: str, sock: socket.socket) -> bool:
        if name not in self.copies:
            self.copies[name] = sock.dup()
        return True

    def drop(self, name: str) -> None:
        self.dropped.append(name)
        if name in self.copies:
            self.copies.pop(name).close()


@pytest.fixture
def depot() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    for sock in kept.copies.values():
        sock.close()


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    """Close a test's sockets at its end."""
    with contextlib.ExitStack() as stack:
        yield stack


def dial(port: int, host: str = HOST) -> socket.socket:
    """Connect to a listening socket without waiting for accept(2)."""
    return socket.create_connection(("::1" if host == "::1" else HOST, port), timeout=10)


def accepted(listener: socket.socket) -> int:
    """Accept all waiting connections; return their number."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


def test_each_socket_has_a_name_that_the_service_manager_accepts() -> None:
    hosts = ["", "::1", "/run/a b.sock", "/run/b:1", "/run/ä", "/run/ö", "/run/\x7f"]
    names = {join(socket.SOCK_STREAM, host, 0) for host in hosts}
    assert len(names) == len(hosts)
    assert [name for name in names if not name.isascii() or not name.isprintable() or ":" in name] == []


@pytest.mark.parametrize("host", WILDCARD)
def test_a_port_is_shared_only_if_both_processes_agree(host: str, opened: contextlib.ExitStack) -> None:
    port = free_port()
    older, hopeful, newer = Listeners(), Listeners(), Listeners(shared=True)
    first = opened.enter_context(older.streams(host, port, OPTIONS))
    opened.enter_context(dial(port, host))
    for other in (hopeful, newer):
        with pytest.raises(OSError, match="in use"):
            other.streams(host, port, OPTIONS)
    older.share()
    with pytest.raises(OSError, match="in use"):
        hopeful.streams(host, port, OPTIONS)
    second = opened.enter_context(newer.streams(host, port, OPTIONS))
    newer.settle()

    older.prefer_newer()
    for _ in range(20):
        opened.enter_context(dial(port, host))
    assert (accepted(first), accepted(second)) == (1, 20)


@pytest.mark.parametrize("host", WILDCARD)
def test_a_udp_port_is_shared_in_the_same_way(host: str, opened: contextlib.ExitStack) -> None:
    port, older, newer = free_port(), Listeners(), Listeners(shared=True)
    opened.enter_context(older.datagrams(host, port))
    with pytest.raises(OSError, match="in use"):
        newer.datagrams(host, port)
    older.share()
    opened.enter_context(newer.datagrams(host, port))
    with pytest.raises(OSError, match="in use"):
        Listeners().datagrams(host, port)


@pytest.mark.parametrize("host", WILDCARD)
def test_users_wait_in_an_inherited_socket(host: str, depot: Kept, opened: contextlib.ExitStack) -> None:
    port = free_port()
    older = opened.enter_context(contextlib.closing(Listeners(depot=depot)))
    first = older.streams(host, port, OPTIONS)
    datagrams = older.datagrams(host, port)
    assert older.kept
    first.shutdown(socket.SHUT_RD)  # users were refused when the process ended
    first.close()
    datagrams.close()
    inherited = [(name, sock.dup()) for name, sock in depot.copies.items()]
    newer = opened.enter_context(contextlib.closing(Listeners(inherited, depot=depot)))
    assert newer.succeeding
    second = opened.enter_context(newer.streams(host, port, OPTIONS))
    opened.enter_context(newer.datagrams(host, port))
    newer.settle()
    opened.enter_context(dial(port, host))
    assert accepted(second) == 1
    assert depot.dropped == []


def test_unused_inherited_sockets_are_closed(depot: Kept, opened: contextlib.ExitStack) -> None:
    port, unwanted = free_port(), free_port()
    older = opened.enter_context(contextlib.closing(Listeners(depot=depot)))
    for number in (port, unwanted):
        older.streams("", number, OPTIONS).close()
    older.close()
    inherited = [(name, sock.dup()) for name, sock in depot.copies.items()]
    newer = opened.enter_context(contextlib.closing(Listeners(inherited, depot=depot)))
    opened.enter_context(newer.streams(HOST, port, OPTIONS))  # another address: the wildcard is in the way
    newer.settle()
    with pytest.raises(ConnectionRefusedError):
        dial(unwanted)
    assert sorted(depot.copies) == [f"tcp-{port}-{HOST}"]


@pytest.mark.parametrize("host", WILDCARD)
def test_an_inherited_socket_loses_options_removed_from_the_file(
    host: str, depot: Kept, opened: contextlib.ExitStack
) -> None:
    port, before = free_port(), SocketOptions(nodelay=True, keepalive=15, mss=1000, rcvbuf=8192, sndbuf=8192)
    older = opened.enter_context(contextlib.closing(Listeners(depot=depot)))
    older.streams(host, port, before).close()
    older.close()
    inherited = [(name, sock.dup()) for name, sock in depot.copies.items()]
    newer = opened.enter_context(contextlib.closing(Listeners(inherited, depot=depot)))
    second = opened.enter_context(newer.streams(host, port, OPTIONS))
    newer.settle()
    opened.enter_context(dial(port, host))
    user = opened.enter_context(second.accept()[0])
    fresh = opened.enter_context(Listeners().streams(host, free_port(), OPTIONS))
    for level, option in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.SOL_SOCKET, socket.SO_REUSEPORT),
        (socket.SOL_SOCKET, socket.SO_SNDBUF),
        (socket.SOL_SOCKET, socket.SO_RCVBUF),
        (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    ):
        assert second.getsockopt(level, option) == fresh.getsockopt(level, option)
    assert user.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 1000
    assert len(depot.copies) == 1


def test_a_kept_port_can_be_closed_and_opened_again(depot: Kept, opened: contextlib.ExitStack) -> None:
    """A rebuilt tunnel does so; if the port is not opened again, the next reload closes it."""
    port, listeners = free_port(), opened.enter_context(contextlib.closing(Listeners(depot=depot)))
    listeners.streams(HOST, port, OPTIONS).close()
    again = opened.enter_context(listeners.streams(HOST, port, OPTIONS))
    listeners.settle()
    opened.enter_context(dial(port))
    assert accepted(again) == 1
    again.close()
    listeners.settle()
    with pytest.raises(ConnectionRefusedError):
        dial(port)
    assert depot.copies == {}


def test_only_the_sockets_of_the_same_port_give_way(depot: Kept, opened: contextlib.ExitStack) -> None:
    port, other = free_port(), free_port()
    older = opened.enter_context(contextlib.closing(Listeners(depot=depot)))
    for number in (port, other):
        older.streams("", number, OPTIONS).close()
    opened.enter_context(dial(other))
    inherited = [(name, sock.dup()) for name, sock in depot.copies.items()]
    newer = opened.enter_context(contextlib.closing(Listeners(inherited, depot=depot)))
    older.close()
    opened.enter_context(newer.streams(HOST, port, OPTIONS))
    assert accepted(opened.enter_context(newer.streams("", other, OPTIONS))) == 1


def test_a_port_that_the_client_dials_is_not_shared(opened: contextlib.ExitStack) -> None:
    port, older, newer = free_port(), Listeners(), Listeners(shared=True)
    bound = opened.enter_context(WithheldListeners(older).streams(HOST, port, OPTIONS))
    older.share()
    with pytest.raises(OSError, match="in use"):
        newer.streams(HOST, port, OPTIONS)
    bound.close()
    opened.enter_context(older.streams(HOST, port, OPTIONS))  # for users, after a reload
    older.share()
    opened.enter_context(newer.streams(HOST, port, OPTIONS))


def test_a_closed_port_is_not_shared(opened: contextlib.ExitStack) -> None:
    listeners = Listeners()
    listeners.streams(HOST, free_port(), OPTIONS).close()
    assert not listeners.kept
    listeners.share()
    listeners.prefer_newer()
    opened.enter_context(listeners.streams(HOST, free_port(), OPTIONS))
    assert not listeners.kept
