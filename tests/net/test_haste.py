"""Connections of which the kernel hears nothing, although there is a path again."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import cast

import pytest
from tests.support.middlebox import drop_all, restore
from tests.support.net import Peer, fill, until
from tests.support.tunnel import Net

from backhaul.net.haste import Haste
from backhaul.net.tcp_info import TcpInfo

SPARE = 2.2
PROBES = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)


class Later:
    """The judgements to come, which a test passes itself."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_later(self, _delay: float, judge: Callable[..., None], *args: object) -> None:
        """See AbstractEventLoop."""
        self.calls.append(lambda: judge(*args))


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def haste(later: Later) -> Haste:
    return Haste(cast("asyncio.AbstractEventLoop", later))


@pytest.fixture
async def ends(net: Net) -> tuple[Peer, Peer]:
    return await net.pair()


async def fails(peer: Peer) -> None:
    with pytest.raises(TimeoutError, match="timed out") as error:
        await peer.receive(1)
    assert error.value.errno == errno.ETIMEDOUT  # the test's own patience has no number


async def test_bytes_in_flight_on_a_dead_line(ends: tuple[Peer, Peer]) -> None:
    near, far = ends
    drop_all(far.sock)
    await near.send(b"in vain")
    Haste(asyncio.get_running_loop()).add(near.sock, SPARE)
    await fails(near)


async def test_a_quiet_dead_line(ends: tuple[Peer, Peer]) -> None:
    """The kernel alone would send its first probe after two hours."""
    near, far = ends
    drop_all(far.sock)
    Haste(asyncio.get_running_loop()).add(near.sock, SPARE)
    await fails(near)


async def test_bytes_in_flight_that_arrive_in_time(haste: Haste, later: Later, ends: tuple[Peer, Peer]) -> None:
    near, far = ends
    drop_all(far.sock)
    await near.send(b"delayed")
    haste.add(near.sock, SPARE)
    restore(far.sock)
    assert await far.receive(7) == b"delayed"
    later.calls.pop()()
    await far.send(b"hello")
    assert await near.receive(5) == b"hello"


async def test_a_quiet_living_line_has_its_probes_back(haste: Haste, later: Later, ends: tuple[Peer, Peer]) -> None:
    near, far = ends
    before = [near.sock.getsockopt(socket.IPPROTO_TCP, option) for option in PROBES]
    haste.add(near.sock, SPARE)
    haste.add(near.sock, SPARE)  # while it is judged already
    assert [near.sock.getsockopt(socket.IPPROTO_TCP, option) for option in PROBES] != before
    await until(lambda: TcpInfo.of(near.sock).silence < SPARE)
    for judge in later.calls:
        judge()
    assert [near.sock.getsockopt(socket.IPPROTO_TCP, option) for option in PROBES] == before
    assert not near.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await far.send(b"hello")
    assert await near.receive(5) == b"hello"


async def test_a_peer_that_does_not_read_is_left_alone(haste: Haste, later: Later, ends: tuple[Peer, Peer]) -> None:
    """The kernel's probes of its window become rare, so their answers prove nothing."""
    near, _far = ends
    await fill(near)
    await until(lambda: not TcpInfo.of(near.sock).in_flight)
    haste.add(near.sock, SPARE)
    assert not later.calls


async def test_a_connection_that_is_closed_meanwhile(haste: Haste, later: Later, ends: tuple[Peer, Peer]) -> None:
    near, _far = ends
    haste.add(near.sock, SPARE)
    near.sock.close()
    later.calls.pop()()
    haste.add(near.sock, SPARE)
    assert not later.calls
