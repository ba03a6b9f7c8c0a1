"""Datagrams to each of several local addresses, and answers that leave from the same one."""

import contextlib
import ctypes
import functools
import os
import socket
import subprocess
import threading
from collections.abc import Callable

import pytest
from tests.support.datagrams import repeat
from tests.support.net import HOST, until

from backhaul.net.endpoints import Address, learn_destinations
from backhaul.net.poller import Poller
from backhaul.net.sockets import bind_datagrams
from backhaul.net.udp import Counters, DatagramSocket, prepare
from backhaul.wire.datagrams import Batch

CLONE_NEWNET = 0x40000000  # <sched.h>
ONE, OTHER = "127.0.0.1", "127.0.0.2"
NOWHERE = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.7") + bytes(4))


class Answering:
    """A socket that echoes each batch, and remembers the senders."""

    def __init__(self, poller: Poller, sock: socket.socket) -> None:
        self.addresses: list[Address] = []
        self.batches: list[list[bytes]] = []
        self.counters = Counters()
        self.socket = DatagramSocket(poller, sock, self._received, self.counters)
        self.port = sock.getsockname()[1]

    def _received(self, batch: Batch, address: Address) -> None:
        self.addresses.append(address)
        self.batches.append([bytes(datagram) for datagram in batch])
        self.socket.send(batch, address)


def dual_stack() -> socket.socket:
    return bind_datagrams("0.0.0.0", 0)


def ipv4_only() -> socket.socket:
    """Return the listening socket of a server on a machine without IPv6."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 0))
    prepare(sock)
    learn_destinations(sock)
    return sock


def user_socket(host: str = HOST) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


async def answer(user: socket.socket) -> tuple[bytes, str]:
    """Return the next datagram and the host that it comes from."""
    heard: list[tuple[bytes, Address]] = []

    def look() -> bool:
        try:
            heard.append(user.recvfrom(1 << 16))
        except BlockingIOError:
            return False
        return True

    await until(look)
    data, address = heard[0]
    return data, address[0]


@pytest.mark.parametrize("listen", [dual_stack, ipv4_only])
async def test_answers_leave_from_the_address_of_the_datagrams(
    poller: Poller, listen: Callable[[], socket.socket]
) -> None:
    answering = Answering(poller, listen())
    with user_socket() as user:
        for host in (ONE, OTHER, ONE):
            user.sendto(host.encode(), (host, answering.port))
            assert await answer(user) == (host.encode(), host)
        first, second, again = answering.addresses
        assert first == again != second
        assert hash(first) == hash(again)
        assert first[0] == second[0]
    answering.socket.close()


async def test_coalesced_batches_are_cut_and_answered_in_one_piece(poller: Poller) -> None:
    answering = Answering(poller, bind_datagrams("0.0.0.0", 0))
    counters, heard = Counters(), list[bytes]()
    plain = DatagramSocket(poller, bind_datagrams(ONE, 0), lambda batch, _: heard.extend(map(bytes, batch)), counters)
    sent = [bytes([number]) * 1200 for number in range(200)]
    plain.send(sent, (OTHER, answering.port))
    await until(lambda: len(heard) == len(sent))
    assert heard == sent
    assert any(len(batch) > 1 for batch in answering.batches)
    assert len(set(answering.addresses)) == 1
    plain.close()
    answering.socket.close()


async def test_a_socket_bound_to_one_address_has_plain_addresses(poller: Poller) -> None:
    answering = Answering(poller, bind_datagrams(OTHER, 0))
    with user_socket() as user:
        user.bind((HOST, 0))
        user.sendto(b"x", (OTHER, answering.port))
        assert await answer(user) == (b"x", OTHER)
        assert answering.addresses == [user.getsockname()]
    answering.socket.close()


@pytest.mark.parametrize("batch", [[b"one"], [b"1st", b"2nd"]], ids=["one", "several"])
async def test_a_removed_local_address_costs_no_answer(poller: Poller, batch: list[bytes]) -> None:
    answering = Answering(poller, bind_datagrams("0.0.0.0", 0))
    with user_socket() as user:
        user.sendto(b"x", (OTHER, answering.port))
        assert await answer(user) == (b"x", OTHER)
        (endpoint,) = answering.addresses
        answering.socket.send(batch, (endpoint[0], NOWHERE))
        assert [await answer(user) for _ in batch] == [(datagram, ONE) for datagram in batch]
        assert not answering.counters.dropped
        assert answering.socket.most_equal > 1000
        answering.socket.send(batch, endpoint)
        assert [await answer(user) for _ in batch] == [(datagram, OTHER) for datagram in batch]
    answering.socket.close()


async def test_several_addresses_of_ipv6(poller: Poller) -> None:
    hosts = ["fd00::1", "fd00::2"]
    listening, user = sockets_of_a_network_with(hosts)
    answering = Answering(poller, listening)

    def ask(host: str) -> None:
        user.sendto(host.encode(), (host, answering.port))

    def answered(host: str) -> bool:
        """Return whether this host has answered; each one answers what it was asked."""
        with contextlib.suppress(BlockingIOError):
            data, address = user.recvfrom(1 << 16)
            assert data.decode() == address[0]
            return bool(host == address[0])
        return False

    with user, contextlib.closing(answering.socket):
        for host in (*hosts, *hosts):
            await repeat(functools.partial(ask, host), functools.partial(answered, host))
        assert len(set(answering.addresses)) == len(hosts)


def sockets_of_a_network_with(hosts: list[str]) -> tuple[socket.socket, socket.socket]:
    """Return a listening socket and a user's, in a network namespace with these addresses; requires root."""
    made: list[socket.socket] = []

    def make() -> None:
        assert not ctypes.CDLL(None).unshare(CLONE_NEWNET)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for host in hosts:
            subprocess.run(["ip", "address", "add", f"{host}/128", "dev", "lo", "nodad"], check=True)
        made.extend([bind_datagrams("::", 0), user_socket(hosts[0])])

    if os.geteuid():
        pytest.skip("only root makes network namespaces")
    thread = threading.Thread(target=make)  # a thread has its own namespace, and sockets stay in it
    thread.start()
    thread.join()
    listening, user = made
    return listening, user
