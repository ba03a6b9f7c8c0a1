"""Connections whose large segments are lost while small messages arrive."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from tests.support.middlebox import drop_all, drop_large
from tests.support.net import Peer, until
from tests.support.tunnel import Net

from backhaul.net.narrow_path import NarrowPath
from backhaul.net.predicates import retransmissions

LARGE = bytes(1 << 17)  # two segments of the loopback


class Ends(NamedTuple):
    """Two connections from a client to one port of a server."""

    control: Peer
    peer: Peer
    data: Peer
    far: Peer

    async def send_in_vain(self) -> None:
        """Send what the peer's kernel drops, and wait until it was sent again."""
        drop_large(self.far.sock)
        await self.data.send(LARGE)
        await until(lambda: retransmissions(self.data.sock))

    def narrow_path(self, *, in_vain: int = 1, repeats: int = 0) -> NarrowPath:
        """Return the detection among these connections."""
        return NarrowPath(lambda: [self.control.sock, self.data.sock], pause=0.0, in_vain=in_vain, repeats=repeats)


@pytest.fixture
async def ends(net: Net) -> Ends:
    listener = net.listen()
    control, data = await net.dial(listener.port), await net.dial(listener.port)
    return Ends(control, await listener.accept(), data, await listener.accept())


async def test_large_segments_in_vain_are_a_warning_that_names_the_remedy(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    await ends.send_in_vain()
    ends.narrow_path().heard(ends.control.sock)
    assert "a smaller MTU on the way is likely: set mss = 1300" in caplog.text


async def test_a_server_knows_the_connections_of_a_client(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    listener = net.listen()
    near, far = await net.dial(listener.port), await net.dial(listener.port)
    control, data = await listener.accept(), await listener.accept()
    await Ends(control, near, data, far).send_in_vain()
    NarrowPath(lambda: [data.sock], in_vain=1, repeats=0).heard(control.sock)
    assert "a smaller MTU" in caplog.text


async def test_they_must_repeat_between_two_messages(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    """After an outage the first one succeeds, but messages on the control channel may arrive before it."""
    await ends.send_in_vain()
    narrow_path = ends.narrow_path(repeats=1)
    narrow_path.heard(ends.control.sock)
    assert not caplog.text
    before = retransmissions(ends.data.sock)
    await until(lambda: retransmissions(ends.data.sock) > before)
    narrow_path.heard(ends.control.sock)
    assert "a smaller MTU" in caplog.text


async def test_a_message_of_another_peer_proves_nothing(ends: Ends, net: Net, caplog: pytest.LogCaptureFixture) -> None:
    other = await net.dial(net.listen().port)
    narrow_path = ends.narrow_path()
    narrow_path.heard(ends.control.sock)  # before
    await ends.send_in_vain()
    narrow_path.heard(other.sock)
    assert not caplog.text


async def test_small_segments_in_vain_are_those_of_a_bad_line(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    drop_large(ends.far.sock)
    ends.data.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await ends.data.send(bytes(2000))  # above the filter's limit, and far below a segment of the loopback
    await until(lambda: retransmissions(ends.data.sock))
    ends.narrow_path().heard(ends.control.sock)
    assert not caplog.text


@pytest.mark.parametrize(("arrived", "warns"), [(16_000, False), (1 << 17, True)], ids=["freezes", "narrows later"])
async def test_a_connection_that_freezes_early_is_no_sign_of_a_smaller_mtu(
    ends: Ends, caplog: pytest.LogCaptureFixture, arrived: int, *, warns: bool
) -> None:
    await ends.data.send(bytes(arrived))
    await ends.far.receive(arrived)
    await ends.send_in_vain()
    ends.narrow_path().heard(ends.control.sock)
    assert ("a smaller MTU" in caplog.text) == warns


class Frozen(NamedTuple):
    """Connections of one peer that have frozen after some bytes."""

    control: Peer
    near: list[Peer]
    far: list[Peer]

    @classmethod
    async def start(cls, net: Net, arrived: Sequence[int]) -> "Frozen":
        listener = net.listen()
        control = await net.dial(listener.port)
        await listener.accept()
        near = [await net.dial(listener.port) for _ in arrived]
        frozen = cls(control, near, [await listener.accept() for _ in arrived])
        for one, other, count in zip(frozen.near, frozen.far, arrived, strict=True):
            await one.send(bytes(count))
            await other.receive(count)
            drop_large(other.sock)
            await one.send(LARGE)
        await until(lambda: all(retransmissions(one.sock) for one in near))
        return frozen

    def look(self) -> None:
        NarrowPath(lambda: [one.sock for one in self.near], in_vain=1, repeats=0).heard(self.control.sock)


async def test_connections_that_freeze_alike_are_named_with_the_remedy(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    frozen = await Frozen.start(net, [60_000, 15_000, 16_000, 5_000, 22_400])
    frozen.look()
    assert "freeze after some 15 kB" in caplog.text
    assert 'with transport = "tcpmux"' in caplog.text


@pytest.mark.parametrize("arrived", [[15_000] * 2, [15_000, 15_000, 22_600]], ids=["two", "not alike"])
async def test_others_are_not_worth_a_line(net: Net, caplog: pytest.LogCaptureFixture, arrived: list[int]) -> None:
    frozen = await Frozen.start(net, arrived)
    frozen.look()
    assert not caplog.text


async def test_full_segments_that_fit_every_path_are_no_sign_of_a_smaller_mtu(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    listener = net.listen()
    listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1024)
    control, data = await net.dial(listener.port), await net.dial(listener.port)
    ends = Ends(control, await listener.accept(), data, await listener.accept())
    drop_all(ends.far.sock)
    await ends.data.send(bytes(5000))
    await until(lambda: retransmissions(ends.data.sock))
    ends.narrow_path().heard(ends.control.sock)
    assert not caplog.text


async def test_what_is_no_connection_is_passed_over(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    closed = socket.socket()
    closed.close()
    left, right = socket.socketpair()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, left, right:
        narrow_path = NarrowPath(lambda: [closed, left, datagrams], in_vain=1, repeats=0)
        narrow_path.heard(closed)
        narrow_path.heard(ends.control.sock)
    assert not caplog.text


async def test_all_of_many_connections_get_their_turn(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    narrow_path = NarrowPath(lambda: [*[ends.control.sock] * 1500, ends.data.sock], pause=0.0, in_vain=1, repeats=0)
    for _ in range(2):  # a round in which nothing is wrong
        narrow_path.heard(ends.control.sock)
    await ends.send_in_vain()
    narrow_path.heard(ends.control.sock)
    assert not caplog.text
    narrow_path.heard(ends.control.sock)
    assert "a smaller MTU" in caplog.text


async def test_there_is_a_pause_between_two_looks(ends: Ends) -> None:
    looks: list[None] = []
    moments = iter((100.0, 104.0, 106.0))

    def connections() -> list[socket.socket]:
        looks.append(None)
        return []

    narrow_path = NarrowPath(connections, clock=lambda: next(moments), pause=5.0)
    for _ in range(3):
        narrow_path.heard(ends.control.sock)
    assert len(looks) == 2
