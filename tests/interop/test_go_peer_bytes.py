"""Every byte arrives between this program and the Go peer, over every transport, whichever is the server."""

import asyncio
import os

import pytest
from tests.support.go_peer import STREAMS, Case, Mixed, cases
from tests.support.net import Peer

ALL = cases(STREAMS)
BULK = os.urandom(5_000_000)


async def exchange(user: Peer, data: bytes) -> None:
    """Send ``data`` and receive its echo at the same time."""
    _, heard = await asyncio.gather(user.send(data), user.receive(len(data)))
    assert heard == data


async def test_echoes_of_every_size(mixed: Mixed) -> None:
    await mixed.start(await mixed.net.echo())
    user = await mixed.user()
    for size in (1, 100, 4096, 4097, 16384, 65536, 300_000):
        await exchange(user, BULK[:size])


async def test_bulk_both_ways_at_once(mixed: Mixed) -> None:
    await mixed.start(await mixed.net.echo())
    await exchange(await mixed.user(), BULK)


async def test_bulk_one_way_at_a_time(mixed: Mixed) -> None:
    listener = mixed.net.listen()
    await mixed.start(listener.port)
    user, target = await asyncio.gather(mixed.user(), listener.accept())
    for source, sink in ((user, target), (target, user)):
        _, heard = await asyncio.gather(source.send(BULK), sink.receive(len(BULK)))
        assert heard == BULK


async def test_several_targets(mixed: Mixed) -> None:
    await mixed.start(await mixed.net.echo(greeting=b"1:"), f"localhost:{await mixed.net.echo(greeting=b'2:')}")
    users = [await mixed.user(0), await mixed.user(1)]
    for user in users:
        await user.send(b"?")
    assert [await user.receive(3) for user in users] == [b"1:?", b"2:?"]


@pytest.mark.parametrize(
    ("case", "mux_con"), [(case, mux_con) for case in ALL for mux_con in ((1, 8) if case.muxed else (1,))], ids=str
)
async def test_many_short_connections_at_once(mixed: Mixed, case: Case, mux_con: int) -> None:
    """With wsmux on both ends v0.7.2 loses some: those whose bytes its client reads with the answer to the upgrade."""
    count = 300 if case == Case("wsmux", "server", 1) else 60
    await mixed.start(await mixed.net.echo(), mux_con=mux_con)

    async def visit(number: int) -> None:
        user = await mixed.user()
        await exchange(user, number.to_bytes(2) * 500)
        user.close()

    await asyncio.gather(*(visit(number) for number in range(count)))
