"""Transport udp in a protected session, with an attacker on the path who records, repeats, alters, and holds back."""

import os

import pytest
from tests.support.net import HOST, until
from tests.support.udp_line import ProtectedNet, Scene, announced, heard, through_a_nat

from backhaul.security.datagrams import OVERHEAD
from backhaul.wire.announcements import ANNOUNCEMENT_SIZES, IDLE, Announcement
from backhaul.wire.datagrams import MAX_PAYLOAD

SECRET = b"a user's own words"


@pytest.fixture(params=["", "encryption = true"], ids=["protected", "encrypted"])
def lines(request: pytest.FixtureRequest) -> str:
    """Run each test without encryption of users' datagrams, and with it."""
    return str(request.param)


def flipped(datagram: bytes) -> list[bytes]:
    """Return copies of a datagram, each with another bit flipped; one of each byte."""
    number = int.from_bytes(datagram)
    return [(number ^ 1 << 8 * at + at % 8).to_bytes(len(datagram)) for at in range(len(datagram))]


async def used(net: ProtectedNet) -> Scene:
    """Return a scene with one flow, whose tunnel is confirmed and replaced."""
    scene = await through_a_nat(net)
    assert await scene.user.ask(SECRET) == b"echo:" + SECRET
    await until(lambda: scene.tunnel.server.tunnel.transport.idle == 2)
    return scene


def messages(scene: Scene, *, encrypted: bool) -> tuple[list[bytes], list[bytes]]:
    """Return the sealed part of the datagrams that each end has sent."""
    bare = {} if encrypted else {SECRET, b"echo:" + SECRET}
    return [data for data in scene.nat.sent if data not in bare], [
        data for data in scene.nat.answered if data not in bare
    ]


async def assert_unmoved(scene: Scene) -> None:
    """Assert that the flow still works, and nothing of what was sent before has had an effect."""
    assert await scene.user.ask(b"still there") == b"echo:still there"
    assert not scene.user.heard
    assert scene.flows == 1
    assert scene.tunnel.server.tunnel.transport.idle == 2
    assert scene.tunnel.client.tunnel.transport.idle == 2


async def test_a_replay_of_everything_from_anywhere_changes_nothing(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        sent, answered = messages(scene, encrypted=bool(lines))
        assert len(sent) >= 4  # three announcements, one of them repeated as a confirmation
        asked, addresses = scene.echo.count, scene.nat.outside
        stranger = net.udp(scene.tunnel.bind_port)
        for data in sent:
            for source in (*addresses, stranger):
                source.send(data)
        for data in answered:
            scene.nat.to_client(data)
        await assert_unmoved(scene)
        assert scene.echo.count == asked + 1
        assert not stranger.count


async def test_a_flipped_bit_in_any_byte_is_noticed(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await through_a_nat(net)
        await until(lambda: scene.tunnel.server.tunnel.transport.idle == 2)
        scene.nat.holding = True
        scene.user.send(SECRET)
        transport = scene.tunnel.server.tunnel.transport
        await until(lambda: len(scene.nat.answered) == 2 and transport.idle == 2)
        scene.nat.holding = False
        sent, answered = messages(scene, encrypted=bool(lines))
        for copy in (copy for data in sent for copy in flipped(data)):
            net.udp(scene.tunnel.bind_port).send(copy)
        assignment, question = scene.nat.answered
        for copy in flipped(assignment):
            scene.nat.to_client(copy)
        scene.nat.to_busiest(assignment)
        for copy in (copy for data in answered[1:] for copy in flipped(data)):
            scene.nat.to_busiest(copy)
        scene.nat.to_busiest(question)
        assert await scene.user.receive() == b"echo:" + SECRET
        await assert_unmoved(scene)
        assert scene.echo.count == 2


async def test_no_target_is_on_the_line_and_no_payload_that_is_encrypted(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        line = b"\0".join(scene.nat.sent + scene.nat.answered)
        assert b"%d" % scene.echo.port not in line
        assert (SECRET in line) != bool(lines)
        assert len({data[:8] for data in scene.nat.sent + scene.nat.answered}) == len(
            scene.nat.sent + scene.nat.answered
        )


async def test_datagrams_overtake_and_repeat_each_other(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        scene.nat.holding, already = True, len(scene.nat.answered)
        for number in range(20):
            scene.user.send(b"%d" % number)
        await until(lambda: len(scene.nat.answered) == already + 20)
        held = scene.nat.answered[already:]
        scene.nat.holding = False
        for data in reversed(held):
            for _ in range(1 + bool(lines)):  # without encryption a repeat reaches the target, as on any network
                scene.nat.to_busiest(data)
        answers = [await scene.user.receive() for _ in range(20)]
        assert answers == [b"echo:%d" % number for number in reversed(range(20))]
        await assert_unmoved(scene)


async def test_a_neighbours_garbage_changes_nothing(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        stranger = net.udp(scene.tunnel.bind_port)
        for size in range(130):
            stranger.send(os.urandom(size))
            stranger.send(bytes(size))
        await assert_unmoved(scene)
        assert not stranger.count


async def test_a_datagram_of_the_size_of_a_message_reaches_the_other_side(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        for size in range(ANNOUNCEMENT_SIZES.start, ANNOUNCEMENT_SIZES.stop + 2 * OVERHEAD):
            question = os.urandom(size)
            assert await scene.user.ask(question) == b"echo:" + question


async def test_a_datagram_that_begins_like_a_message_reaches_the_user(lines: str) -> None:
    """It has a number that an announcement may have: that of a recorded one."""
    async with ProtectedNet(lines) as net:
        scene = await through_a_nat(net)
        target = net.udp()
        user = scene.another_user(target.port)
        user.send(b"question")
        _, address = await target.receive_from()
        announcement = next(data for data in scene.nat.sent if heard(scene.tunnel.server, data))
        for answer in (announcement[:-1] + bytes([announcement[-1] ^ 1]), announcement[:8] + os.urandom(40)):
            target.send(answer, address)
            assert await user.receive() == answer


async def test_datagrams_too_large_for_encryption_are_dropped_and_counted(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        counters = scene.tunnel.server.tunnel.ports.open[HOST, scene.tunnel.ports[0], ""].udp
        largest = bytes(MAX_PAYLOAD - OVERHEAD)
        assert await scene.user.ask(largest) == largest
        scene.user.send(largest + b"!")
        if lines:
            await until(lambda: counters.dropped == 1)
        else:
            assert await scene.user.receive() == largest + b"!"
        await assert_unmoved(scene)


async def test_an_assignment_that_was_held_back_serves_no_later_flow(lines: str) -> None:
    """The client serves the first flow when the server has given the tunnel to none, or to another."""
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": 0.02}
        scene = await through_a_nat(net)
        transport = scene.tunnel.server.tunnel.transport
        await until(lambda: transport.idle == 2)
        scene.nat.holding, already = True, len(scene.nat.answered)
        scene.user.send(SECRET)
        await until(lambda: len(scene.nat.answered) > already)
        first = scene.nat.answered[already:]
        scene.tunnel.server.relay.flows.close()
        scene.nat.holding = False
        await until(lambda: transport.idle == 3)  # the client announces the tunnel still, and another one was requested
        scene.user.send(b"of the next flow")
        assert await scene.user.receive() == b"echo:of the next flow"
        await until(lambda: transport.idle == 3)
        scene.nat.to_client(first[0])
        reached = [tunnel for tunnel in scene.nat.outside if tunnel.count]
        assert len(reached) in {1, 2}  # one, if both flows got the same tunnel: the older assignment is not taken then
        await until(lambda: transport.idle == 4 - len(reached))
        assert await scene.user.ask(b"still there") == b"echo:still there"


async def test_a_tunnel_that_is_assigned_twice_has_other_keys(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        net.patience = {"announce": 0.02}
        scene = await through_a_nat(net)
        transport = scene.tunnel.server.tunnel.transport
        await until(lambda: transport.idle == 2)
        scene.nat.holding = True
        for turn in range(1, 6):
            scene.user.send(SECRET)
            await until(lambda turn=turn: len(scene.nat.answered) == 2 * turn)  # type: ignore[misc]
            scene.tunnel.server.relay.flows.close()
            await until(lambda turn=turn: transport.idle == 2 + turn)  # type: ignore[misc]
        data = [sealed for sealed in scene.nat.answered if len(sealed) == len(SECRET) + bool(lines) * OVERHEAD]
        assert len(set(data)) == (5 if lines else 1)
        assert len({sealed[:8] for sealed in data}) == len(set(data))


async def test_an_older_announcement_does_not_move_a_tunnel_back(lines: str) -> None:
    async with ProtectedNet(lines) as net:
        scene = await used(net)
        transport = scene.tunnel.server.tunnel.transport
        here, there = net.udp(scene.tunnel.bind_port), net.udp(scene.tunnel.bind_port)
        older, newer = (
            announced(scene.tunnel.server, Announcement(b"a tunnel", IDLE), newer=order) for order in range(2)
        )
        there.send(newer)
        await until(lambda: transport.idle == 3)
        here.send(older)
        user = scene.another_user(scene.echo.port)
        user.send(b"hello")  # through the tunnel with the latest sign of life
        await there.receive()
        assert not here.count
