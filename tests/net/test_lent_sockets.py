"""Listening sockets that belong to a unit of the service manager."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.net import HOST, free_port

from backhaul.net.endpoints import learns_destinations
from backhaul.net.inherited import NoDepot
from backhaul.net.listener import Acceptor
from backhaul.net.listeners import Listeners
from backhaul.net.pollers import make_poller
from backhaul.net.sockets import SocketOptions

OPTIONS = SocketOptions(nodelay=True, keepalive=15)


class Forbidden(NoDepot):
    """A store that must not be asked to keep or drop sockets of the manager's own."""

    def keep(self, name: str, sock: socket.socket) -> bool:
        del sock
        raise AssertionError(name)

    def drop(self, name: str) -> None:
        raise AssertionError(name)


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def lend(opened: contextlib.ExitStack) -> Callable[..., Listeners]:
    """Lend copies of sockets, and close them at the end."""

    def listeners(*socks: socket.socket) -> Listeners:
        passed = [("some.socket", sock.dup()) for sock in socks]
        return opened.enter_context(contextlib.closing(Listeners(passed, depot=Forbidden())))

    return listeners


@pytest.fixture
def tcp(opened: contextlib.ExitStack) -> socket.socket:
    return opened.enter_context(socket.create_server((HOST, free_port())))


def address_of(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()
    return host, port


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_a_socket_of_all_addresses(opened: contextlib.ExitStack, lend: Callable[..., Listeners], host: str) -> None:
    port = free_port()
    unit = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    opened.enter_context(unit)
    sock = opened.enter_context(lend(unit).streams(host, port, OPTIONS))
    opened.enter_context(socket.create_connection((HOST, port)))
    opened.enter_context(sock.accept()[0])


def test_a_socket_of_datagrams(opened: contextlib.ExitStack, lend: Callable[..., Listeners]) -> None:
    unit = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    unit.bind((HOST, free_port()))
    with lend(unit).datagrams(*address_of(unit)) as sock:
        user = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        user.sendto(b"hello", address_of(unit))
        assert sock.recv(9) == b"hello"


def test_a_blocking_socket_blocks_no_more(lend: Callable[..., Listeners], tcp: socket.socket) -> None:
    """systemd passes it blocking, and all users would wait for one who has left."""
    with lend(tcp).streams(*address_of(tcp), OPTIONS) as sock, pytest.raises(BlockingIOError):
        sock.accept()


def test_a_socket_of_datagrams_has_the_options_of_others(
    opened: contextlib.ExitStack, lend: Callable[..., Listeners]
) -> None:
    unit = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    unit.bind(("0.0.0.0", free_port()))
    with lend(unit).datagrams(*address_of(unit)) as sock:
        assert not sock.getblocking()
        assert learns_destinations(sock)


def test_users_wait_in_a_unix_socket(
    opened: contextlib.ExitStack, lend: Callable[..., Listeners], tmp_path: Path
) -> None:
    path = str(tmp_path / "users")
    unit = opened.enter_context(socket.socket(socket.AF_UNIX))
    unit.bind(path)
    unit.listen()
    user = opened.enter_context(socket.socket(socket.AF_UNIX))
    user.connect(path)
    sock = opened.enter_context(lend(unit).streams(path, 0, OPTIONS))
    accepted = opened.enter_context(sock.accept()[0])
    user.send(b"hello")
    assert accepted.recv(9) == b"hello"


def test_the_first_of_two_with_one_address_is_used(opened: contextlib.ExitStack) -> None:
    first = opened.enter_context(socket.create_server((HOST, 0), reuse_port=True))
    second = socket.create_server(address_of(first), reuse_port=True)
    listeners = Listeners([("one.socket", first.dup()), ("two.socket", second)])
    assert second.fileno() < 0
    sock = opened.enter_context(listeners.streams(*address_of(first), OPTIONS))
    opened.enter_context(socket.create_connection(address_of(first)))
    opened.enter_context(sock.accept()[0])
    listeners.close()


def test_the_manager_owns_no_socket_that_takes_the_place_of_its_own(tcp: socket.socket) -> None:
    listeners, address = Listeners([("some.socket", tcp.dup())]), address_of(tcp)
    listeners.settle()  # which closes the unused one
    tcp.close()
    with contextlib.closing(listeners), listeners.streams(*address, OPTIONS):
        assert not listeners.kept


def test_options_are_set_as_far_as_possible(lend: Callable[..., Listeners], tcp: socket.socket) -> None:
    with lend(tcp).streams(*address_of(tcp), SocketOptions(nodelay=True, mss=1000)):  # mss: the unit's business
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_next_process_is_no_successor(lend: Callable[..., Listeners], tcp: socket.socket) -> None:
    listeners = lend(tcp)
    assert not listeners.succeeding
    with listeners.streams(*address_of(tcp), OPTIONS):
        assert listeners.kept


def test_a_lent_socket_is_not_kept(opened: contextlib.ExitStack, tcp: socket.socket) -> None:
    listeners = opened.enter_context(contextlib.closing(Listeners([("some.socket", tcp.dup())])))
    opened.enter_context(listeners.streams(*address_of(tcp), OPTIONS))
    opened.enter_context(listeners.streams(HOST, free_port(), OPTIONS))
    assert not listeners.kept


async def test_refused_users_wait_in_the_lent_socket(lend: Callable[..., Listeners], tcp: socket.socket) -> None:
    """A listening socket that is shut down would be useless to the manager."""
    poller, port = make_poller(), tcp.getsockname()[1]
    acceptor = Acceptor(poller, lend(tcp).streams(HOST, port, OPTIONS), lambda sock, _: sock.close(), lambda _: None)
    with pytest.raises(OSError, match="not supported"):
        acceptor.refuse()
    acceptor.close()
    with socket.create_connection((HOST, port)):
        tcp.accept()[0].close()
    poller.close()


def test_a_reload_may_need_the_lent_socket_again(
    lend: Callable[..., Listeners], tcp: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    listeners = lend(tcp)
    for _ in range(2):
        listeners.streams(*address_of(tcp), OPTIONS).close()
        listeners.settle()
    with listeners.streams(*address_of(tcp), OPTIONS):
        pass
    assert not caplog.messages


def test_another_address_of_a_lent_port_is_in_use(lend: Callable[..., Listeners], opened: contextlib.ExitStack) -> None:
    port = free_port()
    listeners = lend(opened.enter_context(socket.create_server(("0.0.0.0", port))))
    with pytest.raises(OSError, match="in use"):
        listeners.streams("127.0.0.2", port, OPTIONS)


def test_unused_sockets_are_closed(lend: Callable[..., Listeners], tcp: socket.socket) -> None:
    address = address_of(tcp)
    lend(tcp).settle()
    tcp.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_strange_sockets(
    lend: Callable[..., Listeners], opened: contextlib.ExitStack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    datagrams = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    datagrams.bind(str(tmp_path / "log"))
    abstract = opened.enter_context(socket.socket(socket.AF_UNIX))
    abstract.bind("\0backhaul-test")
    other = opened.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    udp = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    udp.bind(("::1", free_port()))
    lend(datagrams, abstract, other, udp).settle()
    [line] = caplog.messages
    assert f"unix:{tmp_path}/log, " in line
    assert f"[::1]:{udp.getsockname()[1]} (UDP) of the service manager" in line


async def test_the_page(lend: Callable[..., Listeners], tcp: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    listeners, address = lend(tcp), address_of(tcp)
    listeners.claim(*address)
    listeners.settle()
    for _ in range(2):
        sock = listeners.page(*address)
        assert sock
        listeners.settle()
        sock.close()
    assert listeners.page(HOST, free_port()) is None
    assert listeners.page("name.invalid", 80) is None
    assert not caplog.messages
