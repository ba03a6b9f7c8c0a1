"""Connections that serve one user after the other, on a line that is full when a user ends."""

import socket
from typing import NamedTuple

import pytest
from tests.support.net import Peer, fill, until
from tests.support.peers import EXTENDED
from tests.support.sealed_carriers import KINDS, TARGET, Kind, Speaker, Stage
from tests.support.web import BINARY, frame

from backhaul.security import kinds
from backhaul.transports.connection import SealedConnection

each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
SMALL = 1 << 12  # bytes of a buffer
MUCH = 1 << 19  # bytes, more than the kernel holds for one that does not read


async def narrow(stage: Stage) -> tuple[Peer, Peer]:
    """Return both ends of a connection that holds little."""
    near, far = await stage.net.pair()
    near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
    far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    return near, far


class Full(NamedTuple):
    """A tunnel connection, full of bytes without meaning, whose user has ended in order."""

    near: Peer
    far: Peer
    sent: int


async def full_client(stage: Stage, kind: Kind) -> Full:
    """Return the client's end: its END and FREE wait."""
    near, far = await narrow(stage)
    ours, theirs = stage.seals(kind)
    kind.client(stage.relay, SealedConnection(near.sock, EXTENDED, seals=theirs), stage)
    server = Speaker(kind, ours.sealer, masked=False)
    await far.send(server.record(kinds.TCP, TARGET.encode()) + server.end())
    target = await stage.reached()
    assert await target.receive_all() == b""
    sent = await fill(near)
    target.close()
    await until(lambda: stage.outcomes)
    return Full(near, far, sent)


async def full_server(stage: Stage, kind: Kind) -> Full:
    """Return the server's end: its END waits."""
    near, far = await narrow(stage)
    ours, theirs = stage.seals(kind)
    carrier = kind.server(stage.relay, SealedConnection(near.sock, EXTENDED, seals=ours), stage)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await kind.receive_target(far)
    await far.send(Speaker(kind, theirs.sealer, masked=True).end(1))  # so that the server waits for FREE
    assert await peer.receive_all() == b""
    sent = await fill(near)
    peer.close()
    await until(lambda: stage.outcomes)
    return Full(near, far, sent)


@each_kind
async def test_a_client_that_stops_waits_for_the_last_messages(stage: Stage, kind: Kind) -> None:
    full = await full_client(stage, kind)
    assert stage.relay.busy
    assert stage.relay.watched == 1
    await full.far.receive(full.sent + 1)
    await until(lambda: not stage.relay.busy)
    assert not stage.relay.watched
    assert stage.idle


@each_kind
async def test_a_client_that_waits_in_vain_closes_the_connection(stage: Stage, kind: Kind) -> None:
    full = await full_client(stage, kind)
    stage.relay.close()
    assert full.near.sock.fileno() < 0
    assert stage.lost


class Half(NamedTuple):
    """The client's end of a connection: its user continues, and the end of the target waits for a full line."""

    far: Peer
    target: Peer
    server: Speaker
    sent: int


async def half_ended(stage: Stage, kind: Kind) -> Half:
    """Return a connection whose target has ended first."""
    near, far = await narrow(stage)
    ours, theirs = stage.seals(kind)
    kind.client(stage.relay, SealedConnection(near.sock, EXTENDED, seals=theirs), stage)
    server = Speaker(kind, ours.sealer, masked=False)
    await far.send(server.record(kinds.TCP, TARGET.encode()))
    target = await stage.reached()
    sent = await fill(near)
    target.shut_write()
    await until(lambda: stage.relay.watched)
    return Half(far, target, server, sent)


@each_kind
async def test_a_client_whose_end_waits_when_its_user_ends_keeps_the_connection(stage: Stage, kind: Kind) -> None:
    """Its end says that the target has taken everything, so the server takes the connection for free."""
    half = await half_ended(stage, kind)
    await half.far.send(half.server.end())
    assert await half.target.receive_all() == b""
    await half.far.receive(half.sent)
    await kind.receive(half.far)
    await half.far.send(half.server.record(kinds.TCP, TARGET.encode()) + half.server.data(b"next"))
    second = await stage.reached()
    assert await second.receive(4) == b"next"
    assert not stage.lost
    assert not stage.relay.lingering


@each_kind
async def test_a_client_reads_nothing_more_while_its_end_waits(stage: Stage, kind: Kind) -> None:
    half = await half_ended(stage, kind)
    await half.far.send(half.server.end())
    assert await half.target.receive_all() == b""
    await fill(half.far)
    assert await fill(half.far) < MUCH


@each_kind
async def test_a_target_that_is_reset_with_its_connection_leaves_nothing(stage: Stage, kind: Kind) -> None:
    _, far = await stage.client(kind)
    await far.send(Speaker(kind, stage.seals(kind)[0].sealer, masked=False).record(kinds.TCP, TARGET.encode()))
    target = await stage.reached()
    target.shut_write()
    await kind.receive(far)
    target.reset()
    far.reset()
    await until(lambda: stage.outcomes and stage.lost)
    assert not stage.relay.busy
    assert not stage.relay.watched


@each_kind
async def test_a_server_that_gives_a_connection_up_sends_the_end_first(stage: Stage, kind: Kind) -> None:
    """So it does when the control channel is lost, and when a client takes too long to give it back."""
    full = await full_server(stage, kind)
    for channel in stage.returning.clear():
        channel.close()
    assert len(await full.far.receive_all()) > full.sent
    await until(lambda: stage.gone)
    assert not stage.relay.busy


@each_kind
async def test_a_connection_that_is_given_up_reads_nothing_more(stage: Stage, kind: Kind) -> None:
    full = await full_server(stage, kind)
    for channel in stage.returning.clear():
        channel.close()
    await fill(full.far)
    assert len(await full.far.receive_all()) > full.sent
    await until(lambda: stage.gone)


@each_kind
async def test_an_announcement_that_exceeds_the_memory_costs_its_user_alone(stage: Stage, kind: Kind) -> None:
    near, _ = await narrow(stage)
    carrier = kind.server(stage.relay, SealedConnection(near.sock, EXTENDED, seals=stage.seals(kind)[0]), stage)
    await fill(near)
    stage.relay.budget.limit = 1000
    user, peer = await stage.user(bytes(10_000))
    assert carrier.attach(user)
    await until(lambda: stage.outcomes)
    assert not await peer.closed()
    assert not stage.relay.busy


@each_kind
@pytest.mark.parametrize("late", ["end", "data"])
async def test_bytes_after_an_end_before_the_target_is_reached_drop_the_connection(
    stage: Stage, kind: Kind, late: str
) -> None:
    _, far = await stage.client(kind)
    server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
    before = server.record(kinds.TCP, TARGET.encode()) + server.end()
    await far.send(before + (server.end() if late == "end" else server.data(b"late")))
    await until(lambda: stage.arrivals)
    assert stage.arrivals == [None]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http and not kind.payload], ids=str)
async def test_an_empty_last_fragment_is_no_reset(stage: Stage, kind: Kind) -> None:
    carrier, far = await stage.server(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await kind.receive_target(far)
    first, last = bytearray(frame(BINARY, b"hello", masked=True)), bytearray(frame(0, b"", masked=True))
    first[0] &= 0x7F
    await far.send(bytes(first + last))
    await far.send(Speaker(kind, stage.seals(kind)[1].sealer, masked=True).data(b"again"))
    assert await peer.receive(10) == b"helloagain"
