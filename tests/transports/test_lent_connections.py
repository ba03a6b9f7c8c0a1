"""Connections that serve one user after the other, from one user's end to the next one's bytes."""

import asyncio
import os

import pytest
from tests.support.net import Peer, fill, until
from tests.support.sealed_carriers import KINDS, Kind, Near, Stage

from backhaul.relay.outcome import ORDERLY
from backhaul.transports.carriers.dedicated_server import IdleCarrier

pytestmark = pytest.mark.both_loops

BULK = os.urandom(1_000_001)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


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
    assert [outcome.ending in ORDERLY for outcome in stage.outcomes] == [True] * 12
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
