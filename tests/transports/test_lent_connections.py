"""Connections that serve one user after the other, from one user's end to the next one's bytes."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.net import Peer, fill, until
from tests.support.sealed_carriers import KINDS, SEALED_KINDS, TARGET, Kind, Near, Speaker, Stage
from tests.support.tunnel import Net
from tests.support.web import PING, PONG, frame

from backhaul.net.poller import make_poller
from backhaul.relay.engine import Relay
from backhaul.security import kinds
from backhaul.security.records import Sealer
from backhaul.transports.carriers.dedicated import IdleCarrier

pytestmark = pytest.mark.both_loops

BULK = os.urandom(1_000_001)
BYTES = b"five?"
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


@pytest.fixture
async def stage(net: Net) -> AsyncIterator[Stage]:
    poller = make_poller()
    relay = Relay(poller)
    yield Stage(net, relay)
    relay.close()
    poller.close()


async def attached(stage: Stage, carrier: IdleCarrier) -> tuple[Peer, Peer]:
    """Return the far sockets of a user of the carrier, and of the target."""
    user, peer = await stage.user()
    assert carrier.attach(user)
    return peer, await stage.reached()


async def end(first: Peer, other: Peer) -> None:
    """End both directions, each with last bytes."""
    await first.send(b"the last question")
    first.shut_write()
    assert await other.receive_all() == b"the last question"
    await other.send(b"the last answer")
    other.close()
    assert await first.receive_all() == b"the last answer"
    first.close()


async def came_back(stage: Stage) -> IdleCarrier:
    """Return the connection of the server that is idle again on both ends."""
    await until(lambda: stage.free and stage.idle)
    stage.idle.clear()
    return stage.free.pop()


@each_kind
async def test_users_of_one_connection_get_their_own_bytes(stage: Stage, kind: Kind) -> None:
    carrier = await stage.tunnel(kind)
    for number in range(6):
        user, target = await attached(stage, carrier)
        data = b"%d" % number + BULK
        for sender, receiver in ((user, target), (target, user)):
            _, received = await asyncio.gather(sender.send(data), receiver.receive(len(data)))
            assert received == data
        await (end(user, target) if number % 2 else end(target, user))
        assert await came_back(stage) is carrier
    assert [outcome.ending.orderly for outcome in stage.outcomes] == [True] * 12
    assert not stage.gone


@each_kind
async def test_a_connection_comes_back_as_it_was(stage: Stage, kind: Kind) -> None:
    carrier = await stage.tunnel(kind)
    await end(*await attached(stage, carrier))
    await came_back(stage)
    assert not stage.relay.live
    assert not stage.relay.watched
    assert not len(stage.returning)
    assert not stage.relay.budget.held


@each_kind
@pytest.mark.parametrize("by", ["user", "target"])
@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_reset_closes_the_connection(stage: Stage, kind: Kind, by: str, *, half_closed: bool) -> None:
    user, target = await attached(stage, await stage.tunnel(kind))
    first, other = (user, target) if by == "user" else (target, user)
    if half_closed:
        other.shut_write()
        assert await first.receive_all() == b""
    first.reset()
    assert half_closed or not await other.closed()
    await until(lambda: stage.gone and stage.lost)
    assert not stage.free
    assert not stage.idle


@each_kind
@pytest.mark.parametrize("reset", [False, True])
async def test_a_refused_user_closes_the_connection(stage: Stage, kind: Kind, *, reset: bool) -> None:
    carrier = await stage.tunnel(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    peer.shut_write()
    (await stage.arrival()).refuse(reset=reset)
    assert await peer.closed() is not reset
    await until(lambda: stage.gone and stage.lost)
    assert not stage.free


@each_kind
async def test_a_flow_closes_the_connection(stage: Stage, kind: Kind) -> None:
    carrier = await stage.tunnel(kind)
    flow = stage.flow(Near())
    assert carrier.attach_flow(flow)
    arrival = await stage.arrival()
    assert arrival.datagrams
    flow.close()
    arrival.refuse(reset=False)
    assert not stage.free
    assert not stage.idle


@each_kind
async def test_a_slow_target_keeps_the_connection(stage: Stage, kind: Kind) -> None:
    """Its client gives the connection back when the last byte is on its way to the target, and not before."""
    carrier = await stage.tunnel(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    target = await stage.reached()
    target.shut_write()
    assert await peer.receive_all() == b""
    sent = await fill(peer)
    peer.close()
    assert not stage.free
    assert not stage.idle
    assert len(await target.receive_all()) == sent
    target.close()
    assert await came_back(stage) is carrier


@each_kind
async def test_a_slow_user_keeps_the_connection(stage: Stage, kind: Kind) -> None:
    """The client may give it back long before the user has taken everything."""
    carrier = await stage.tunnel(kind)
    user, target = await attached(stage, carrier)
    user.shut_write()
    assert await target.receive_all() == b""
    sending = asyncio.create_task(target.send(BULK * 8))
    received = await user.receive(1000)
    assert not stage.free
    received += await user.receive(len(BULK) * 8 - 1000)
    await sending
    target.close()
    assert await user.receive_all() == b""
    assert received == BULK * 8
    assert await came_back(stage) is carrier


@each_kind
async def test_an_unwanted_connection_is_closed(stage: Stage, kind: Kind) -> None:
    stage.wanted = False
    await end(*await attached(stage, await stage.tunnel(kind)))
    await until(lambda: stage.gone and None in stage.arrivals)
    assert not stage.free


class Client(Speaker):
    """The client's end of a connection, played by the test."""

    def __init__(self, kind: Kind, peer: Peer, sealer: Sealer) -> None:
        super().__init__(kind, sealer, masked=True)
        self.peer = peer


async def played(stage: Stage, kind: Kind) -> tuple[IdleCarrier, Client, Peer]:
    """Return a connection with a user, its other end, and the user's socket."""
    carrier, far = await stage.server(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await kind.receive_target(far)
    return carrier, Client(kind, far, stage.seals(kind)[1].sealer), peer


async def ended(stage: Stage, kind: Kind) -> tuple[IdleCarrier, Client]:
    """Return a connection whose user has ended in both directions, before the target has taken all bytes."""
    carrier, client, user = await played(stage, kind)
    await user.send(BYTES)
    await kind.receive(client.peer)
    user.shut_write()
    await kind.receive(client.peer)
    await client.peer.send(client.end())
    assert await user.receive_all() == b""
    await until(lambda: len(stage.returning))
    return carrier, client


@each_kind
async def test_only_the_client_gives_a_connection_back(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    assert not stage.free
    await client.peer.send(client.free())
    await until(lambda: stage.free == [carrier])
    assert not len(stage.returning)


@each_kind
@pytest.mark.parametrize("first", ["user", "target"])
async def test_a_target_that_has_taken_all_bytes_frees_the_connection(stage: Stage, kind: Kind, first: str) -> None:
    carrier, far = await stage.server(kind)
    user, peer = await stage.user(b"early", b"PROXY")
    assert carrier.attach(user)
    await kind.receive_target(far)
    client = Client(kind, far, stage.seals(kind)[1].sealer)
    assert b"PROXYearly" in await kind.receive(far) or kind.payload
    if first == "target":
        await far.send(client.end(10))
        assert await peer.receive_all() == b""
        assert not stage.free
    peer.shut_write()
    await kind.receive(far)
    if first == "user":
        await far.send(client.end(10))
        assert await peer.receive_all() == b""
    await until(lambda: stage.free == [carrier])
    assert not len(stage.returning)


@each_kind
async def test_a_reset_that_comes_too_late_is_not_that_of_the_next_user(stage: Stage, kind: Kind) -> None:
    carrier, client, first = await played(stage, kind)
    await client.peer.send(client.end())
    assert await first.receive_all() == b""
    first.shut_write()
    await until(lambda: stage.free == [carrier])
    await kind.receive(client.peer)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await client.peer.send(client.reset_after_end() + client.data(BYTES))
    assert await peer.receive(len(BYTES)) == BYTES
    await client.peer.send(client.end() + client.reset_after_end())
    await until(lambda: stage.gone == [carrier])
    assert [outcome.ending.orderly for outcome in stage.outcomes] == [True, False]


@each_kind
async def test_free_before_the_user_has_ended_closes_the_connection(stage: Stage, kind: Kind) -> None:
    _, client, _ = await played(stage, kind)
    await client.peer.send(client.end() + client.free())
    await until(lambda: stage.gone)
    assert not stage.free
    assert len(stage.outcomes) == 1


@pytest.mark.parametrize("kind", SEALED_KINDS, ids=str)
async def test_free_before_the_target_has_ended_closes_the_connection(stage: Stage, kind: Kind) -> None:
    """Without ``encryption`` these bytes are data of the target: its direction has not ended."""
    _, client, user = await played(stage, kind)
    user.shut_write()
    await kind.receive(client.peer)
    await client.peer.send(client.free())
    await until(lambda: stage.gone)
    assert not await user.closed()


MISTAKES = ["data", "end", "free twice", "half a message", "replayed free"]


@each_kind
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_anything_else_after_both_ends_closes_the_connection(stage: Stage, kind: Kind, mistake: str) -> None:
    _, client = await ended(stage, kind)
    free = client.free()
    await client.peer.send(
        {
            "data": client.data(b"late"),
            "end": client.end(),
            "free twice": free + client.free(),
            "half a message": free + client.data(b"of the next")[:-3],
            "replayed free": free + free,
        }[mistake]
    )
    await until(lambda: stage.gone)
    assert len(stage.gone) == 1


@each_kind
async def test_a_reset_between_both_ends_and_free_closes_the_connection(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    await client.peer.send(client.reset_after_end())
    await until(lambda: stage.gone)
    assert not stage.free
    assert not len(stage.returning)


@each_kind
async def test_a_client_that_closes_in_place_of_free_is_no_fault(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    client.peer.close()
    await until(lambda: stage.gone)
    assert not len(stage.returning)


@each_kind
async def test_a_client_that_never_gives_it_back_loses_it(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    for channel in stage.returning.clear():
        channel.close()
    assert await client.peer.closed()
    assert stage.gone


@each_kind
async def test_a_message_on_an_idle_connection_closes_it(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    await client.peer.send(client.free())
    await until(lambda: stage.free)
    await client.peer.send(client.data(b"for nobody"))
    await until(lambda: stage.gone == [carrier])
    user, _ = await stage.user()
    assert not carrier.attach(user)


@each_kind
async def test_a_free_of_another_connection_is_an_attack(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    client.free()  # the number that the next one had, so this is the second
    await client.peer.send(client.free())
    await until(lambda: stage.gone)
    assert not stage.free


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http], ids=str)
async def test_a_proxy_may_ping_between_two_users(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    ping = frame(PING, b"proxy", masked=True)
    await client.peer.send(ping + client.free() + ping[:3])
    await until(lambda: stage.free == [carrier])
    await client.peer.send(ping[3:])
    assert [await kind.receive(client.peer) for _ in range(2)] == [frame(PONG, b"proxy")] * 2
    user, _ = await stage.user()
    assert carrier.attach(user)


class TestNextUser:
    """A server, played by the test, which does not wait for FREE when the target has taken all bytes."""

    @each_kind
    @pytest.mark.parametrize("size", [1, 1 << 16])
    async def test_the_next_user_may_follow_the_end_at_once(self, stage: Stage, kind: Kind, size: int) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()) + server.data(BYTES))
        first = await stage.reached()
        assert await first.receive(len(BYTES)) == BYTES
        first.shut_write()
        await kind.receive(far)
        stream = server.end() + server.record(kinds.TCP, TARGET.encode()) + server.data(b"another's") + server.end()
        for start in range(0, len(stream), size):
            await far.send(stream[start : start + size])
            await asyncio.sleep(0)
        assert await first.receive_all() == b""
        second = await stage.reached()
        assert await second.receive_all() == b"another's"
        assert not stage.lost

    @each_kind
    async def test_a_reset_of_the_target_after_both_ends_is_no_harm(self, stage: Stage, kind: Kind) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        await self._reset_after_end(stage, kind, far)
        await far.send(server.end() + server.record(kinds.TCP, TARGET.encode()) + server.data(BYTES))
        second = await stage.reached()
        assert await second.receive(len(BYTES)) == BYTES
        assert not stage.lost
        assert not stage.relay.lingering

    @each_kind
    async def test_a_user_who_sends_more_to_a_reset_target_ends_the_connection(
        self, stage: Stage, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        await self._reset_after_end(stage, kind, far)
        await far.send(server.data(b"too late"))
        await until(lambda: stage.lost)
        assert not caplog.records
        assert not stage.idle

    async def _reset_after_end(self, stage: Stage, kind: Kind, far: Peer) -> None:
        target = await stage.reached()
        target.shut_write()
        await kind.receive(far)
        target.reset()
        await kind.receive(far)


class TestServer:
    """A client whose server, played by the test, makes mistakes."""

    @each_kind
    @pytest.mark.parametrize("mistake", ["free", "data", "end"])
    async def test_a_message_between_end_and_free_closes_the_connection(
        self, stage: Stage, kind: Kind, mistake: str
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        target = await stage.reached()
        await far.send(server.end())
        assert await target.receive_all() == b""
        late: dict[str, Callable[[], bytes]] = {
            "free": server.free,
            "data": functools.partial(server.data, b"late"),
            "end": server.end,
        }
        await far.send(late[mistake]())
        await until(lambda: stage.lost)
        assert len(stage.outcomes) == 1
        assert not stage.idle
        assert not stage.arrivals

    @each_kind
    async def test_a_reset_that_crosses_free_closes_the_connection_in_silence(
        self, stage: Stage, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()) + server.end())
        target = await stage.reached()
        target.close()
        await until(lambda: stage.idle)
        await far.send(server.reset_after_end())
        await until(lambda: stage.arrivals)
        assert stage.arrivals == [None]
        assert not caplog.records
