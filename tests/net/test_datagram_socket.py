"""Batches of datagrams on real sockets, and the queue of waiting ones."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.support.exhausted import ExhaustedPoller
from tests.support.icmp import may_refuse, refuse
from tests.support.net import HOST, until

from backhaul.net.endpoints import UDP_GRO, Address
from backhaul.net.poller import Poller
from backhaul.net.pollers import EpollPoller, LoopPoller
from backhaul.net.sockets import bind_datagrams
from backhaul.net.udp import QUEUE_BYTES, Counters, DatagramQueue, DatagramSocket, prepare
from backhaul.wire.datagrams import MAX_PAYLOAD, Batch

IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0  # <linux/in.h>; missing in the socket module

SO_NO_CHECK = 11  # <asm-generic/socket.h>; missing in the socket module


class Inbox:
    """A DatagramSocket and its received batches."""

    def __init__(self, poller: Poller, host: str = HOST) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        prepare(sock)
        self.address = sock.getsockname()
        self.batches: list[tuple[list[bytes], Address]] = []
        self.counters = Counters()
        self.sock = sock
        self.socket = DatagramSocket(poller, sock, self._received, self.counters)

    @property
    def datagrams(self) -> list[bytes]:
        return [datagram for batch, _ in self.batches for datagram in batch]

    def _received(self, batch: Batch, address: Address) -> None:
        self.batches.append(([bytes(datagram) for datagram in batch], address))


@pytest.fixture
async def two(poller: Poller) -> AsyncIterator[tuple[Inbox, Inbox]]:
    inboxes = Inbox(poller), Inbox(poller)
    yield inboxes
    for inbox in inboxes:
        inbox.socket.close()


BATCHES = {
    "nothing": [],
    "an empty one": [b""],
    "equal ones": [bytes([number]) * 1200 for number in range(200)],
    "equal ones, then a smaller": [b"a" * 1200, b"b" * 1200, b"c" * 700],
    "one of each": [b"x" * size for size in (1, 1200, 1200, 3, 3, 3, 0, 0, 1400, 1, 65507)],
    "the largest": [b"a" * MAX_PAYLOAD, b"b" * MAX_PAYLOAD],
    "tiny ones": [bytes([number]) for number in range(150)],
}


@pytest.mark.parametrize("offload", [True, False])
@pytest.mark.parametrize("name", BATCHES)
async def test_a_batch_arrives_unchanged(two: tuple[Inbox, Inbox], name: str, *, offload: bool) -> None:
    sender, receiver = two
    if not offload:
        sender.socket.most_equal = 0
    sender.socket.send(BATCHES[name], receiver.address)
    await until(lambda: len(receiver.datagrams) == len(BATCHES[name]))
    assert receiver.datagrams == BATCHES[name]
    assert sender.counters.dropped == receiver.counters.dropped == 0
    assert bool(sender.socket.most_equal > 1200) is offload  # the kernel has refused no segments


async def test_each_sender_has_batches_of_its_own(poller: Poller, two: tuple[Inbox, Inbox]) -> None:
    one, receiver = two
    other = Inbox(poller)
    for number in range(3):
        one.socket.send([b"one %d" % number], receiver.address)
        other.socket.send([b"other %d" % number] * 2, receiver.address)
    await until(lambda: len(receiver.datagrams) == 9)
    assert {address for _, address in receiver.batches} == {one.address, other.address}
    for batch, address in receiver.batches:
        assert {datagram.split()[0] for datagram in batch} == {b"one" if address == one.address else b"other"}
    other.socket.close()


async def test_unsendable_datagrams_are_counted_and_the_others_arrive(two: tuple[Inbox, Inbox]) -> None:
    sender, receiver = two
    sender.socket.send([b"before", bytes(MAX_PAYLOAD + 1), b"after"], receiver.address)
    await until(lambda: len(receiver.datagrams) == 2)
    assert receiver.datagrams == [b"before", b"after"]
    assert sender.counters.dropped == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
@pytest.mark.parametrize("host", [HOST, "::"])
def test_routers_may_fragment_datagrams(host: str) -> None:
    with bind_datagrams(host, 0) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER) == IP_PMTUDISC_DONT


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
def test_the_kernel_may_coalesce_datagrams() -> None:
    with bind_datagrams(HOST, 0) as sock:
        assert sock.getsockopt(socket.IPPROTO_UDP, UDP_GRO) == 1


async def test_runs_that_the_path_refuses_leave_one_by_one(two: tuple[Inbox, Inbox]) -> None:
    """Here the kernel refuses to segment without checksums, as it does datagrams larger than the MTU elsewhere."""
    sender, receiver = two
    sender.sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    batch = [bytes([number % 256]) * 60 for number in range(300)]
    sender.socket.send(batch, receiver.address)
    await until(lambda: len(receiver.datagrams) == 300)
    assert receiver.datagrams == batch
    assert sender.socket.most_equal == 59
    assert sender.counters.dropped == 0


@pytest.mark.parametrize("batch", [[b"x"], [b"x", b"y"]], ids=["one", "several"])
async def test_an_icmp_error_of_one_datagram_costs_no_other(poller: Poller, batch: list[bytes]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind((HOST, 0))
        address = gone.getsockname()
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.connect(address)
    prepare(sock)
    counters, heard = Counters(), asyncio.Event()
    peer = DatagramSocket(poller, sock, lambda _batch, _address: heard.set(), counters)
    peer.send(batch)  # on this machine ICMP answers at once
    with socket.socket(type=socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.setblocking(False)
        peer.send(batch)
        assert [back.recv(100) for _ in batch] == batch
        assert peer.most_equal > 1000
        back.connect(peer.address)
        back.send(b"!")
        await until(heard.is_set)
    peer.close()
    assert not counters.dropped


@pytest.mark.skipif(not may_refuse(), reason="requires root")
@pytest.mark.parametrize("code", [2, 10, 13], ids=["protocol", "host prohibited", "filtered"])
@pytest.mark.parametrize("batch", [[b"x"], [b"x", b"y"]], ids=["one", "several"])
async def test_a_datagram_that_a_firewall_refuses_costs_no_other(poller: Poller, batch: list[bytes], code: int) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as there, socket.socket(type=socket.SOCK_DGRAM) as sock:
        there.bind((HOST, 0))
        there.setblocking(False)
        sock.connect(there.getsockname())
        prepare(sock)
        counters = Counters()
        peer = DatagramSocket(poller, sock, lambda _batch, _address: None, counters)
        refuse(sock, code)
        peer.send(batch)
        assert [there.recv(100) for _ in batch] == batch
        assert peer.most_equal > 1000
        peer.close()
    assert not counters.dropped


async def test_a_receiver_may_close_the_socket(poller: Poller, two: tuple[Inbox, Inbox]) -> None:
    one, other = two
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    prepare(sock)
    heard: list[Address] = []

    def received(_: Batch, address: Address) -> None:
        heard.append(address)
        closing.close()

    closing = DatagramSocket(poller, sock, received, Counters())
    one.socket.send([b"a"], closing.address)
    other.socket.send([b"b"], closing.address)
    await until(lambda: sock.fileno() < 0)
    assert heard == [one.address]


@given(st.lists(st.binary(max_size=200), max_size=60), st.integers(0, 2000))
def test_a_queue_keeps_the_newest_that_fit(batch: list[bytes], limit: int) -> None:
    counters = Counters()
    queue = DatagramQueue(counters, limit)
    for datagram in batch:
        queue.send([memoryview(datagram)])
    kept = queue.take()
    assert kept == batch[len(batch) - len(kept) :]
    assert sum(len(datagram) + 64 for datagram in kept) <= limit
    if counters.dropped:
        assert sum(len(datagram) + 64 for datagram in batch[-len(kept) - 1 :]) > limit
    assert counters.dropped == len(batch) - len(kept)


@pytest.mark.parametrize("make", [EpollPoller, LoopPoller])
async def test_the_next_socket_with_the_same_number_is_heard(make: type[EpollPoller | LoopPoller]) -> None:
    poller = make()
    before = Inbox(poller)
    number = before.sock.fileno()
    with before.sock.dup() as kept:
        before.socket.close()
        before.socket.close()
        after = Inbox(poller)
        assert after.sock.fileno() == number
        after.sock.sendto(b"to the former one", kept.getsockname())
        after.socket.send([b"x"], after.address)
        await until(lambda: after.datagrams == [b"x"])
        assert not before.datagrams
    after.socket.close()
    poller.close()


def test_an_emptied_queue_has_room_again() -> None:
    counters = Counters()
    queue = DatagramQueue(counters, 2 * 65)
    for _ in range(3):
        queue.send([b"a", b"b"])
        assert queue.take() == [b"a", b"b"]
    assert not counters.dropped


@given(st.lists(st.binary(max_size=200), max_size=60), st.integers(1, 2000))
@example([b"a", b"b"], 65)
def test_a_queue_gives_its_oldest_datagrams_in_pieces(batch: list[bytes], size: int) -> None:
    queue = DatagramQueue(Counters())
    queue.send(batch)
    taken: list[bytes] = []
    while queue:
        piece = queue.take_some(size)
        assert sum(len(datagram) + 64 for datagram in piece[:-1]) < size
        taken += piece
    assert (taken, queue.size) == (batch, 0)


def test_a_queue_does_not_grow_with_empty_datagrams() -> None:
    counters = Counters()
    queue = DatagramQueue(counters)
    queue.send([b""] * 100_000)
    assert len(queue.take()) <= QUEUE_BYTES // 64
    assert not queue


def test_a_closed_queue_counts_the_datagrams_it_held() -> None:
    counters = Counters()
    queue = DatagramQueue(counters)
    queue.send([b"a", b"b"])
    assert queue
    queue.close()
    assert (counters.dropped, queue.take()) == (2, [])


async def test_one_that_can_not_be_watched_is_closed() -> None:
    poller = ExhaustedPoller()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        with pytest.raises(OSError, match="memory"):
            DatagramSocket(poller, sock, lambda _batch, _address: None, Counters())
        assert sock.fileno() < 0
    poller.close()
