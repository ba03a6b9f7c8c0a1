"""Transport udp on a line that loses datagrams, with copies of each."""

from collections.abc import Callable

import pytest
from tests.support.net import until
from tests.support.tunnel import change
from tests.support.udp_line import ProtectedNet, Scene, through_a_nat

WORDS = [b"word %d" % number for number in range(20)]
COPIES = "encryption = true\nudp_copies = 2"


def losing_the_first(times: dict[bytes, int]) -> Callable[[bytes], int]:
    """Return a line that loses each datagram the first time, and counts how often each is sent."""

    def passed(datagram: bytes) -> int:
        times[datagram] = times.get(datagram, 0) + 1
        return times[datagram] > 1

    return passed


async def used(net: ProtectedNet, client: str = "") -> Scene:
    """Return a scene whose user has been served."""
    scene = await through_a_nat(net, client=client)
    assert await scene.user.ask(b"hello") == b"echo:hello"
    return scene


@pytest.mark.parametrize("way", ["upwards", "downwards"])
async def test_whatever_is_lost_once_arrives_once(way: str) -> None:
    async with ProtectedNet(COPIES) as net:
        scene = await used(net, COPIES)
        times: dict[bytes, int] = {}
        setattr(scene.nat, way, losing_the_first(times))
        for word in WORDS:
            scene.user.send(word)
        assert sorted([await scene.user.receive() for _ in WORDS]) == sorted(b"echo:" + word for word in WORDS)
        assert await scene.user.ask(b"bye") == b"echo:bye"
        assert not scene.user.heard
        assert list(times.values()).count(2) >= len(WORDS)
        assert dropped(scene) == 0


async def test_the_first_datagram_of_a_user_survives_the_loss_of_whatever_is_sent_first() -> None:
    async with ProtectedNet(COPIES) as net:
        scene = await through_a_nat(net, client=COPIES)
        await until(lambda: scene.tunnel.server.tunnel.transport.idle == 2)
        times: dict[bytes, int] = {}
        scene.nat.downwards = losing_the_first(times)
        assert await scene.user.ask(b"hello") == b"echo:hello"
        assert len(times) == 2  # the target, and the datagram


@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_reload_changes_the_copies_of_users_in_flight(end: str) -> None:
    async with ProtectedNet("encryption = true") as net:
        scene = await used(net)
        await change(scene.tunnel.server if end == "server" else scene.tunnel.client, udp_copies=3)
        times: dict[bytes, int] = {}
        passed = losing_the_first(times)
        setattr(scene.nat, "downwards" if end == "server" else "upwards", passed)
        assert await scene.user.ask(b"word") == b"echo:word"
        await until(lambda: 3 in times.values())


async def test_copies_that_arrive_are_no_datagrams_and_not_dropped_ones() -> None:
    async with ProtectedNet(COPIES) as net:
        scene = await used(net, COPIES)
        asked = scene.echo.count
        for word in WORDS:
            assert await scene.user.ask(word) == b"echo:" + word
        assert scene.echo.count == asked + len(WORDS)
        assert not scene.user.heard
        assert dropped(scene) == 0


def dropped(scene: Scene) -> int:
    """Return the number of datagrams that the server has dropped."""
    (port,) = scene.tunnel.server.tunnel.ports.open.values()
    return port.udp.dropped


async def test_without_copies_each_datagram_is_sent_once() -> None:
    async with ProtectedNet("encryption = true") as net:
        scene = await used(net)
        times: dict[bytes, int] = {}
        passed = losing_the_first(times)
        scene.nat.downwards = lambda datagram: passed(datagram) or 1
        for word in WORDS:
            assert await scene.user.ask(word) == b"echo:" + word
        assert set(times.values()) == {1}
