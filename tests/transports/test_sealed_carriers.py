"""Tunnel connections with session keys, from the announcement of a target to the end of its user."""

import asyncio
import functools
import os
import socket

import pytest
from tests.support.net import HOST, Peer, until
from tests.support.sealed_carriers import KINDS, SEALED_KINDS, TARGET, Kind, Near, Stage
from tests.support.web import BINARY, PING, PONG, TEXT, frame, receive_frame

from backhaul.relay.outcome import ORDERLY, Ending
from backhaul.relay.traffic import Meter, Traffic
from backhaul.security import kinds
from backhaul.wire.targets import MAX_TARGET

BULK = os.urandom(3_000_001)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


async def connected(stage: Stage, kind: Kind) -> tuple[Peer, Peer]:
    carrier = await stage.tunnel(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    return peer, await stage.reached()


@each_kind
async def test_users_and_targets_exchange_bytes_and_end_one_after_the_other(stage: Stage, kind: Kind) -> None:
    carrier = await stage.tunnel(kind)
    user, peer = await stage.user(b"early", b"preface ")
    assert carrier.attach(user)
    target = await stage.reached()
    assert await target.receive(13) == b"preface early"
    for sender, receiver in ((peer, target), (target, peer)):
        _, received = await asyncio.gather(sender.send(BULK), receiver.receive(len(BULK)))
        assert received == BULK
    await peer.send(b"the last question")
    peer.shut_write()
    assert await target.receive_all() == b"the last question"
    await target.send(b"the last answer")
    target.close()
    assert await peer.receive_all() == b"the last answer"
    await until(lambda: len(stage.outcomes) == 2)
    assert all(outcome.ending in ORDERLY for outcome in stage.outcomes)


@each_kind
@pytest.mark.parametrize("by", ["user", "target"])
async def test_a_reset_arrives_as_one(stage: Stage, kind: Kind, by: str) -> None:
    user, target = await connected(stage, kind)
    first, other = (user, target) if by == "user" else (target, user)
    first.reset()
    assert not await other.closed()
    await until(lambda: len(stage.outcomes) == 2)
    assert stage.outcomes[0].ending is (Ending.RESET_BY_USER if by == "user" else Ending.RESET_BY_TARGET)


@each_kind
@pytest.mark.parametrize("reset", [False, True])
async def test_a_refused_user_learns_it(stage: Stage, kind: Kind, *, reset: bool) -> None:
    carrier = await stage.tunnel(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    (await stage.arrival()).refuse(reset=reset)
    assert await peer.closed() is not reset


@each_kind
async def test_datagrams_go_both_ways(stage: Stage, kind: Kind) -> None:
    carrier, near, sizes = await stage.tunnel(kind), Near(), [1200, 0, 60_000, 65_507]
    flow = stage.flow(near)
    assert carrier.attach_flow(flow)
    arrival = await stage.arrival()
    assert (arrival.target, arrival.datagrams) == (TARGET, True)
    with socket.socket(type=socket.SOCK_DGRAM) as target, socket.socket(type=socket.SOCK_DGRAM) as sock:
        for each in (target, sock):
            each.setblocking(False)
            each.bind((HOST, 0))
        sock.connect(target.getsockname())
        target.connect(sock.getsockname())
        arrival.join(sock, Traffic(Meter(), Meter()), stage.outcomes.append)
        loop = asyncio.get_running_loop()
        for size in sizes:
            flow.from_near([bytes(size)])
            assert len(await loop.sock_recv(target, 1 << 16)) == size
            target.send(bytes(size))
            await until(lambda: near.received)
            assert near.received.pop() == bytes(size)
        flow.close()
        await until(lambda: stage.outcomes)


@each_kind
@pytest.mark.parametrize("end", ["half-close", "reset"])
async def test_bytes_right_after_the_target_are_not_lost(stage: Stage, kind: Kind, end: str) -> None:
    """The client gets announcement, bytes and end in one read, before the target is reached."""
    carrier, line = await stage.server(kind)
    user, peer = await stage.user(b"early")
    assert carrier.attach(user)
    await peer.send(b" and late")
    sent = [await kind.receive_target(line), *[await kind.receive(line) for _ in range(2)]]
    peer.shut_write() if end == "half-close" else peer.reset()
    sent.append(await kind.receive(line))
    await stage.client(kind, b"".join(sent))
    target = await stage.reached()
    if end == "reset":
        assert not await target.closed()
    else:
        assert await target.receive_all() == b"early and late"


@each_kind
async def test_the_target_is_never_in_clear_and_payload_as_agreed(stage: Stage, kind: Kind) -> None:
    for announce in ("user", "flow"):
        carrier, line = await stage.server(kind)
        user, peer = await stage.user(b"early bytes")
        if announce == "user":
            assert carrier.attach(user)
            await peer.send(b"later bytes")
            peer.close()
        else:
            user.sock.close()
            flow = stage.flow(Near())
            assert carrier.attach_flow(flow)
            flow.from_near([b"early bytes", b"later bytes"])
            flow.close()
        line.shut_write()
        sent = await line.receive_all()
        assert TARGET.encode() not in sent
        assert (b"early bytes" in sent, b"later bytes" in sent) == (not kind.payload, not kind.payload)


@each_kind
@pytest.mark.parametrize("when", ["with the handshake", "while idle", "just before a user"])
async def test_a_connection_whose_client_sends_bytes_is_closed_in_silence(
    stage: Stage, kind: Kind, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = frame(BINARY, b"x", masked=True) if kind.http else b"x"
    carrier, line = await stage.server(kind, data if when == "with the handshake" else b"")
    if when != "with the handshake":
        line.sock.send(data)
    if when != "just before a user":
        await until(lambda: stage.gone)
    user, peer = await stage.user()
    assert not carrier.attach(user)
    assert not carrier.attach_flow(stage.flow(Near()))
    assert set(stage.gone) == {carrier}
    assert await line.closed()
    assert peer.silent()
    user.sock.close()
    assert not caplog.records


async def forged(stage: Stage, kind: Kind, how: str) -> bytes:
    """Return an announcement that no client should follow."""
    sealer = stage.seals(kind)[0].sealer
    if how == "too long":
        plain = bytes([kinds.TCP]) + b"x" * (MAX_TARGET + 1)
        return (
            bytes([0x82, 126]) + (len(plain) + 16).to_bytes(2) + sealer.seal(plain)
            if kind.http
            else (sealer.frame(kinds.TCP, plain[1:]))
        )
    if how == "not authentic":
        return frame(BINARY, bytes(40)) if kind.http else (40).to_bytes(3) + bytes(40)
    if how == "no target":
        sealed = sealer.seal(bytes([kinds.DATA]) + b"data")
        return frame(BINARY, sealed) if kind.http else len(sealed).to_bytes(3) + sealed
    return frame(TEXT, TARGET.encode()) if kind.http else (0).to_bytes(3)


@each_kind
@pytest.mark.parametrize("how", ["too long", "not authentic", "no target", "in clear"])
async def test_a_forged_target_ends_the_connection_with_one_line(
    stage: Stage, kind: Kind, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [await stage.client(kind) for _ in range(3)]
    data = await forged(stage, kind, how)
    for _, line in lines:
        await line.send(data)
        assert await line.closed()
    assert stage.arrivals == [None] * 3
    (record,) = caplog.records
    assert record.message.startswith("dropped a tunnel connection: ")
    assert not record.exc_info


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http], ids=str)
async def test_pings_of_both_ends_and_of_proxies_are_outside_of_the_seals(stage: Stage, kind: Kind) -> None:
    carrier, line = await stage.server(kind)
    _, far = await stage.client(kind)
    carrier.ping()
    assert await receive_frame(line) == (PING, b"")
    await far.send(frame(PING, b"?"))
    assert await receive_frame(far) == (PONG, b"?")
    await line.send(frame(PONG, b"", masked=True) + frame(PING, b"?", masked=True))
    assert await receive_frame(line) == (PONG, b"?")
    user, _ = await stage.user(b"hello")
    assert carrier.attach(user)
    await far.send(await kind.receive_target(line) + frame(PING, b"!") + await kind.receive(line))
    target = await stage.reached()
    assert await target.receive(5) == b"hello"
    assert await receive_frame(far) == (PONG, b"!")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http], ids=str)
async def test_many_pings_before_a_target_get_one_answer_and_after_it_few(stage: Stage, kind: Kind) -> None:
    carrier, line = await stage.server(kind)
    _, far = await stage.client(kind)
    user, _ = await stage.user(b"hello")
    assert carrier.attach(user)
    pings = frame(PING, bytes(9)) * 100
    await far.send(pings + frame(PING, b"!") + await kind.receive_target(line) + pings + await kind.receive(line))
    target = await stage.reached()
    assert await target.receive(5) == b"hello"
    assert await receive_frame(far) == (PONG, b"!")
    assert await receive_frame(far) == (PONG, bytes(9))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http], ids=str)
async def test_a_flood_of_pings_before_a_target_ends_the_connection(stage: Stage, kind: Kind) -> None:
    _, far = await stage.client(kind)
    await far.send(frame(PING, b"") * 300)
    await far.closed()


TAMPERING = ["flip", "cut", "repeat", "drop", "reorder", "truncate"]


async def tampered(kind: Kind, source: Peer, how: str) -> bytes:
    """Return the bytes of four records after a man in the middle has had them; of the last nothing may arrive."""
    one, two, three, four = [await kind.receive(source) for _ in range(4)]
    flipped = three[:-1] + bytes([three[-1] ^ 1])
    return {
        "flip": one + two + flipped + four,
        "cut": one + two + three[:-1],
        "repeat": one + two + two + three + four,
        "drop": one + two + four,
        "reorder": one + two + four + three,
        "truncate": one + two,
    }[how]


@pytest.mark.parametrize("towards", ["target", "user"])
@pytest.mark.parametrize("how", TAMPERING)
@pytest.mark.parametrize("kind", SEALED_KINDS, ids=str)
async def test_tampering_resets_both_ends_and_passes_nothing_on(
    stage: Stage, kind: Kind, how: str, towards: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender sends four pieces, each in a record of its own, and ends; the first two arrive as they were."""
    carrier, near = await stage.server(kind)
    _, far = await stage.client(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await far.send(await kind.receive_target(near))
    target = await stage.reached()
    sender, receiver, source, sink = (peer, target, near, far) if towards == "target" else (target, peer, far, near)
    collecting = asyncio.ensure_future(tampered(kind, source, how))
    for number in range(4):
        await sender.send(b"piece %d;" % number)
        await until(functools.partial(has_moved, stage, 8 * (number + 1)))
    await sink.send(await collecting)
    if how in {"cut", "truncate"}:
        sink.shut_write()
    assert await receiver.receive(16) == b"piece 0;piece 1;"
    assert not await receiver.closed()
    assert sum(outcome.received + outcome.sent for outcome in stage.outcomes) == 16
    await sink.closed()
    source.close()
    assert not await sender.closed()
    await until(lambda: len(stage.outcomes) == 2)
    assert {outcome.ending for outcome in stage.outcomes} == {Ending.LOST}
    assert len(caplog.records) == (how not in {"cut", "truncate"})


def has_moved(stage: Stage, count: int) -> bool:
    """Return whether relays have read and written this many bytes."""
    return sum(joined.moved for joined in stage.relay.live) >= count
