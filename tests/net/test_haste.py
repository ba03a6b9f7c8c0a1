"""Connections of which the kernel hears nothing, although there is a path again."""

import asyncio
import errno
import socket

import pytest
from tests.support.clock import Loop
from tests.support.middlebox import drop_all, restore
from tests.support.net import Peer, fill, until
from tests.support.tunnel import Net

from backhaul.net.haste import Haste
from backhaul.net.tcp_info import TcpInfo

SPARE = 2.2
NEVER = 1e9  # seconds: later than any timer
LIMITS = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def haste(loop: Loop) -> Haste:
    return Haste(loop)


@pytest.fixture
async def ends(net: Net) -> tuple[Peer, Peer]:
    return await net.pair()


def limits(peer: Peer) -> list[int]:
    keepalive = peer.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return [keepalive, *(peer.sock.getsockopt(socket.IPPROTO_TCP, option) for option in LIMITS)]


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


async def test_bytes_in_flight_that_arrive_in_time(haste: Haste, loop: Loop, ends: tuple[Peer, Peer]) -> None:
    near, far = ends
    drop_all(far.sock)
    await near.send(b"delayed")
    haste.add(near.sock, SPARE)
    restore(far.sock)
    assert await far.receive(7) == b"delayed"
    loop.run(NEVER)
    await far.send(b"hello")
    assert await near.receive(5) == b"hello"


async def test_a_quiet_living_line_has_its_limits_back(haste: Haste, loop: Loop, ends: tuple[Peer, Peer]) -> None:
    near, far = ends
    before = limits(near)
    haste.add(near.sock, SPARE)
    haste.add(near.sock, SPARE)  # while it is judged already
    assert limits(near) != before
    assert loop.timers == 1
    loop.run(NEVER)
    assert limits(near) == before
    await far.send(b"hello")
    assert await near.receive(5) == b"hello"


@pytest.fixture
def judged(haste: Haste, ends: tuple[Peer, Peer]) -> Peer:
    haste.add(ends[0].sock, SPARE)
    return ends[0]


def hear(monkeypatch: pytest.MonkeyPatch, silence: float) -> None:
    """Let the last sign of the peer be ``silence`` seconds old."""
    monkeypatch.setattr(TcpInfo, "of", lambda _sock: TcpInfo(timeout=0.2, silence=silence))


@pytest.mark.parametrize(("silence", "restored"), [(0.49 * SPARE, True), (SPARE, False)])
async def test_the_kernel_ends_only_the_silent(
    judged: Peer, loop: Loop, monkeypatch: pytest.MonkeyPatch, silence: float, *, restored: bool
) -> None:
    hear(monkeypatch, silence)
    loop.run(SPARE)
    assert (limits(judged)[1] == 0) is restored
    assert not loop.timers


@pytest.mark.parametrize("part", [0.5, 0.99])
async def test_a_sign_of_the_first_half_may_be_from_before_the_line_died(
    judged: Peer, loop: Loop, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    hear(monkeypatch, part * SPARE)
    loop.run(SPARE)
    assert limits(judged)[1]
    hear(monkeypatch, 0.0)
    loop.run((2 - part) * SPARE - 0.001)
    assert loop.timers == 1
    loop.run((2 - part) * SPARE)
    assert limits(judged)[1] == loop.timers == 0


async def test_a_peer_that_does_not_read_is_left_alone(haste: Haste, loop: Loop, ends: tuple[Peer, Peer]) -> None:
    """The kernel's probes of its window become rare, so their answers prove nothing."""
    near, _far = ends
    await fill(near)
    await until(lambda: not TcpInfo.of(near.sock).in_flight)
    haste.add(near.sock, SPARE)
    assert not loop.timers


async def test_a_connection_that_is_closed_meanwhile(haste: Haste, loop: Loop, ends: tuple[Peer, Peer]) -> None:
    near, _far = ends
    haste.add(near.sock, SPARE)
    near.sock.close()
    loop.run(NEVER)
    haste.add(near.sock, SPARE)
    assert not loop.timers
