"""Many datagrams that wait in one socket, which are read in one go."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.datagrams import repeat
from tests.support.net import HOST, until

from backhaul.net.endpoints import Address
from backhaul.net.poller import Poller
from backhaul.net.sockets import bind_datagrams
from backhaul.net.udp import Counters, DatagramSocket
from backhaul.wire.datagrams import MAX_PAYLOAD, Batch

WARMING = b"warming up"


class Busy:
    """A socket whose last wake-up has brought several datagrams, so that the next one reads on, too."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self.sock = bind_datagrams(HOST, 0)
        self.batches: list[tuple[Address, list[bytes]]] = []
        self.together: list[bool] = []
        """For each batch, whether small frames of its flow waited for those of others."""
        self.closing = False
        self.socket = DatagramSocket(poller, self.sock, self._received, Counters())

    @property
    def heard(self) -> list[bytes]:
        return [datagram for _, batch in self.batches for datagram in batch]

    async def warm_up(self, user: socket.socket) -> None:
        """Get busy."""
        sent = 0

        def send_three() -> None:
            nonlocal sent
            for _ in range(3):
                user.sendto(WARMING, self.sock.getsockname())
            sent += 3

        await repeat(send_three, lambda: any(len(batch) > 1 for _, batch in self.batches))
        await until(lambda: len(self.heard) == sent)
        self.batches.clear()
        self.together.clear()

    def _received(self, batch: Batch, address: Address) -> None:
        self.batches.append((address, [bytes(datagram) for datagram in batch]))
        self.together.append(self._poller.together.on)
        if self.closing:
            self.socket.close()


@pytest.fixture
def users() -> Iterator[list[socket.socket]]:
    socks = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
    for sock in socks:
        sock.bind((HOST, 0))
    yield socks
    for sock in socks:
        sock.close()


@pytest.fixture
async def busy(poller: Poller, users: list[socket.socket]) -> AsyncIterator[Busy]:
    busy = Busy(poller)
    await busy.warm_up(users[0])
    yield busy
    busy.socket.close()


async def test_users_keep_their_datagrams_and_their_order(busy: Busy, users: list[socket.socket]) -> None:
    sent = [(user, b"%d" % number) for number in range(50) for user in users]
    for user, datagram in sent:
        user.sendto(datagram, busy.sock.getsockname())
    await until(lambda: len(busy.heard) == len(sent))
    heard = [(address, datagram) for address, batch in busy.batches for datagram in batch]
    assert heard == [(user.getsockname(), datagram) for user, datagram in sent]


async def test_datagrams_of_one_user_arrive_together(busy: Busy, users: list[socket.socket]) -> None:
    user, other, _ = users
    for sender in (user, user, other, other):
        sender.sendto(b"x", busy.sock.getsockname())
    await until(lambda: len(busy.heard) == 4)
    assert busy.batches == [(sender.getsockname(), [b"x", b"x"]) for sender in (user, other)]
    assert busy.together == [True, True]


async def test_a_single_user_delays_nobody(busy: Busy, users: list[socket.socket]) -> None:
    for _ in range(2):
        users[0].sendto(b"x", busy.sock.getsockname())
    await until(lambda: len(busy.heard) == 2)
    assert busy.together == [False]


async def test_the_largest_datagrams_stay_whole(busy: Busy, users: list[socket.socket]) -> None:
    largest = [bytes([number]) * MAX_PAYLOAD for number in range(5)]  # more than fit into the buffer of the reads
    for datagram in largest:
        users[0].sendto(datagram, busy.sock.getsockname())
    await until(lambda: len(busy.heard) == len(largest))
    assert busy.heard == largest


async def test_one_that_is_closed_meanwhile_hears_nothing_more(busy: Busy, users: list[socket.socket]) -> None:
    busy.closing = True
    for user in users:
        user.sendto(b"x", busy.sock.getsockname())
    await until(lambda: busy.sock.fileno() < 0)
    assert busy.batches == [(users[0].getsockname(), [b"x"])]
