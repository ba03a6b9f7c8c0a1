"""Datagrams that the kernel does not take, on machines without a way for them."""

import contextlib
import errno
import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.apart import Namespace, separable
from tests.support.net import until

from backhaul.net.endpoints import Address
from backhaul.net.poller import Poller
from backhaul.net.sockets import bind_datagrams
from backhaul.net.udp import Counters, DatagramSocket

pytestmark = pytest.mark.skipif(not separable(), reason="requires root and Linux's namespaces")
HOME, NEIGHBOUR, FAR = "192.0.2.1", "192.0.2.7", "198.51.100.7"
FROM_HOME = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, f"::ffff:{HOME}") + bytes(4))
LITTLE = 1  # byte, of which the kernel makes its least buffer


@pytest.fixture
async def apart() -> AsyncIterator[Namespace]:
    """Provide a network in which nobody answers, and from which no way leads elsewhere."""
    with contextlib.closing(Namespace()) as space:
        await until(lambda: space.ready)
        for command in (
            "link add home type veth peer name away",
            f"address add {HOME}/24 dev home",
            "link set home up",
            "link set away up",
        ):
            space.run(f"ip {command}")
        yield space


def open_there(apart: Namespace, poller: Poller, host: str, counters: Counters) -> tuple[DatagramSocket, socket.socket]:
    with apart.entered():
        sock = bind_datagrams(host, 0)
    return DatagramSocket(poller, sock, lambda _batch, _address: None, counters), sock


@pytest.mark.parametrize("batch", [[b"x"], [b"x", b"y"]], ids=["one", "several"])
@pytest.mark.parametrize(
    ("host", "address"),
    [(HOME, (FAR, 9)), ("0.0.0.0", ((f"::ffff:{FAR}", 9, 0, 0), FROM_HOME))],
    ids=["one address", "all addresses"],
)
async def test_without_a_route_they_are_counted(
    apart: Namespace, poller: Poller, batch: list[bytes], host: str, address: Address
) -> None:
    counters = Counters()
    sender, sock = open_there(apart, poller, host, counters)
    with pytest.raises(OSError, match="unreachable") as found:
        sock.sendto(b"x", (FAR, 9) if host == HOME else address[0])
    assert found.value.errno == errno.ENETUNREACH
    sender.send(batch, address)
    assert counters.dropped == len(batch)
    assert sender.most_equal > 1000
    sender.close()


@pytest.mark.parametrize("size", [1, 2], ids=["one by one", "several"])
async def test_without_room_they_are_counted(apart: Namespace, poller: Poller, size: int) -> None:
    counters, sent = Counters(), 0
    sender, sock = open_there(apart, poller, HOME, counters)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LITTLE)
    while not counters.dropped and sent < 1000:  # the kernel keeps them until the neighbour tells its address
        sender.send([bytes(1000)] * size, (NEIGHBOUR, 9))
        sent += size
    assert counters.dropped == size < sent
    assert sender.most_equal > 1000
    sender.close()
