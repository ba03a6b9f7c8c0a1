"""Bulk between a socket and a connection of blocks, which the kernel moves: partial writes and failures."""

import asyncio
import os
import socket
from typing import NamedTuple

import pytest
from tests.support.net import Peer, fill, until
from tests.support.peers import EXTENDED
from tests.support.sealed_carriers import KINDS, TARGET, Speaker, Stage

from backhaul.relay.direction import COPY_SIZE
from backhaul.relay.outcome import Ending
from backhaul.relay.traffic import Meter, Traffic
from backhaul.transports.connection import SealedConnection
from backhaul.transports.user import User
from backhaul.wire.blocks import HEADER_SIZE

pytestmark = pytest.mark.both_loops

(TCP,) = (kind for kind in KINDS if not (kind.http or kind.payload))
BULK = os.urandom(3_000_001)
SMALL = 1 << 14  # bytes of a socket's buffer, less than a block


class Ends(NamedTuple):
    """The far sockets of a user, of the tunnel connection and of its server, played by the test."""

    user: Peer
    tunnel: Peer
    client: Speaker


async def server_end(stage: Stage, *, buffer: int = 0) -> Ends:
    """Return the server's end of a connection with a user, whose sockets may have a small ``buffer``."""
    carrier, far = await stage.server(TCP)
    user, sock = await stage.net.pair()
    for each in (user.sock, sock.sock) if buffer else ():
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    assert carrier.attach(User(sock.sock, TARGET, b"", Traffic(Meter(), Meter()), stage.outcomes.append))
    await TCP.receive_target(far)
    return Ends(user, far, Speaker(TCP, stage.seals(TCP)[1].sealer, masked=False))


async def payload(tunnel: Peer, count: int) -> bytes:
    """Return ``count`` bytes of payload."""
    received = b""
    while len(received) < count:
        block = await TCP.receive(tunnel)
        assert block[0] == 0
        received += block[4:]
    return received


async def test_a_large_block_reaches_a_user_with_little_room(stage: Stage) -> None:
    ends, data = await server_end(stage, buffer=SMALL), BULK[: COPY_SIZE * 8]
    sending = asyncio.create_task(ends.tunnel.send(ends.client.data(data) + ends.client.end()))
    assert await ends.user.receive(len(data)) == data
    await sending
    assert await ends.user.receive_all() == b""


async def test_bulk_of_a_user_waits_for_the_connection_in_order(stage: Stage) -> None:
    ends = await server_end(stage)
    sent = await fill(ends.user)
    ends.user.shut_write()
    received = await payload(ends.tunnel, sent)
    assert len(received) == sent
    assert await TCP.receive(ends.tunnel) == ends.client.end()


async def test_a_large_block_may_come_in_small_pieces(stage: Stage) -> None:
    ends = await server_end(stage)
    data = ends.client.data(BULK) + ends.client.data(b"small") + ends.client.end()
    for size in (COPY_SIZE * 3, 100, COPY_SIZE * 3, 1):
        await ends.tunnel.send(data[:size])
        data = data[size:]
        await asyncio.sleep(0)
    sending = asyncio.create_task(ends.tunnel.send(data))
    assert await ends.user.receive_all() == BULK + b"small"
    await sending


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_is_cut_within_a_block_resets_its_user(stage: Stage, *, reset: bool) -> None:
    ends = await server_end(stage)
    await ends.tunnel.send(ends.client.data(BULK)[: len(BULK) // 2])
    await ends.user.receive(COPY_SIZE * 4)
    ends.tunnel.reset() if reset else ends.tunnel.close()
    assert not await ends.user.closed()
    assert [outcome.ending for outcome in stage.outcomes] == [Ending.LOST]


async def test_a_user_who_leaves_within_a_block_resets_the_other_end(stage: Stage) -> None:
    ends = await server_end(stage, buffer=SMALL)
    await ends.tunnel.send(ends.client.data(BULK)[: COPY_SIZE * 8])
    await ends.user.receive(COPY_SIZE * 6)
    ends.user.reset()
    assert await TCP.receive(ends.tunnel) == ends.client.reset()
    await ends.tunnel.closed()
    await until(lambda: stage.gone)


async def test_a_user_who_resets_while_bulk_waits_closes_the_connection(stage: Stage) -> None:
    ends = await server_end(stage)
    await fill(ends.user)
    ends.user.reset()
    await ends.tunnel.closed()
    await until(lambda: stage.gone)


async def test_without_pipes_bulk_is_copied(stage: Stage) -> None:
    stage.relay.pipes.max_lent = 0
    ends = await server_end(stage)
    sending = asyncio.gather(ends.user.send(BULK), ends.tunnel.send(ends.client.data(BULK)))
    assert await ends.user.receive(len(BULK)) == BULK
    assert await payload(ends.tunnel, len(BULK)) == BULK
    await sending
    assert not stage.relay.pipes.lent


@pytest.mark.parametrize("buffer", [0, SMALL])
async def test_a_block_continues_when_pipes_run_out(stage: Stage, buffer: int) -> None:
    ends = await server_end(stage, buffer=buffer)
    before = await fill(ends.user)
    stage.relay.pipes.max_lent = 0
    sending = asyncio.create_task(ends.user.send(BULK))
    received = await payload(ends.tunnel, before + len(BULK))
    await sending
    assert received[before:] == BULK
    await ends.tunnel.send(ends.client.data(b"answer"))
    assert await ends.user.receive(6) == b"answer"


async def test_a_user_who_resets_within_a_block_cuts_it(stage: Stage) -> None:
    ends = await server_end(stage)
    await fill(ends.user)
    header = await ends.tunnel.receive(4)
    announced = int.from_bytes(header[1:])
    await ends.tunnel.receive(min(announced, COPY_SIZE))
    ends.user.reset()
    await ends.tunnel.closed()
    await until(lambda: stage.gone)
    assert [outcome.ending for outcome in stage.outcomes] == [Ending.RESET_BY_USER]


async def test_urgent_data_of_a_user_does_not_stop_bulk(stage: Stage) -> None:
    """The kernel splices none of it, and nothing after it."""
    ends = await server_end(stage)
    await payload(ends.tunnel, await fill(ends.user))
    await ends.user.send(bytes(COPY_SIZE * 2))
    ends.user.sock.send(b"!", socket.MSG_OOB)
    ends.user.sock.send(b"later")
    assert (await payload(ends.tunnel, COPY_SIZE * 2 + 5)).endswith(b"later")


async def test_urgent_data_of_a_client_does_not_stop_bulk(stage: Stage) -> None:
    ends = await server_end(stage)
    data = ends.client.data(BULK)
    sending = asyncio.create_task(ends.tunnel.send(data[:-9]))
    await ends.user.receive(len(BULK) - 9)
    await sending
    block = ends.client.data(BULK)
    await ends.tunnel.send(data[-9:] + block[: COPY_SIZE * 2])
    ends.tunnel.sock.send(b"!", socket.MSG_OOB)
    sending = asyncio.create_task(ends.tunnel.send(block[COPY_SIZE * 2 :]))
    assert (await ends.user.receive(9 + len(BULK)))[9:] == BULK
    await sending


async def test_bytes_that_come_with_the_end_of_a_header_go_first(stage: Stage) -> None:
    """The user's socket takes none of them, but has room again when later ones have arrived."""
    near, far = await stage.net.pair()
    near.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    seals, theirs = stage.seals(TCP)
    carrier = TCP.server(stage.relay, SealedConnection(near.sock, EXTENDED, seals=seals), stage)
    user, sock = await stage.net.pair()
    assert carrier.attach(User(sock.sock, TARGET, b"", Traffic(Meter(), Meter()), stage.outcomes.append))
    await TCP.receive_target(far)
    client = Speaker(TCP, theirs.sealer, masked=False)
    await warm_up(far, user, client)
    data = client.data(BULK[: COPY_SIZE * 2]) + client.data(BULK)
    cut = HEADER_SIZE + COPY_SIZE * 2 + 2
    await far.send(data[:cut])
    await user.receive(COPY_SIZE * 2)
    before = await fill(sock)
    sending = asyncio.create_task(far.send(data[cut:]))
    assert (await user.receive(before + len(BULK)))[before:] == BULK
    await sending


async def warm_up(far: Peer, user: Peer, client: Speaker) -> None:
    """Send bulk until the kernel takes much at once, and then something small."""
    for part in (BULK, BULK, BULK, b"small", b"small"):
        sending = asyncio.create_task(far.send(client.data(part)))
        assert await user.receive(len(part)) == part
        await sending


async def test_pipes_are_returned(stage: Stage) -> None:
    ends = await server_end(stage, buffer=SMALL)
    await ends.tunnel.send(ends.client.data(BULK)[: COPY_SIZE * 8])
    await ends.user.receive(COPY_SIZE * 5)
    await fill(ends.user)
    stage.relay.close()
    assert not stage.relay.pipes.lent
