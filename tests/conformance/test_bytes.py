"""Every byte arrives, in order, over every transport, in each way of moving bytes."""

import asyncio
import hashlib
import os
import socket

import pytest
from tests.support.net import HOST, Peer, cuts, fill, free_port, until
from tests.support.tunnel import Net, Tunnel

MEGABYTE = 1 << 20
LONG = bool(os.environ.get("BACKHAUL_LONG"))
# A block whose size is no multiple of any buffer's: a lost, doubled or moved piece changes the sum.
BLOCK = os.urandom(MEGABYTE - 13)


async def exchange(peer: Peer, data: bytes) -> bytes:
    """Send ``data`` and receive as much at the same time."""
    _, heard = await asyncio.gather(peer.send(data), peer.receive(len(data)))
    return heard


def upload(sock: socket.socket, blocks: int) -> str:
    """Send BLOCK ``blocks`` times in a thread; return the checksum."""
    checksum = hashlib.sha256()
    sock.settimeout(50)
    for _ in range(blocks):
        checksum.update(BLOCK)
        sock.sendall(BLOCK)
    sock.shutdown(socket.SHUT_WR)
    return checksum.hexdigest()


def download(sock: socket.socket) -> str:
    """Receive up to the end, in a thread; return the checksum."""
    checksum = hashlib.sha256()
    buffer = memoryview(bytearray(MEGABYTE))
    sock.settimeout(50)
    while count := sock.recv_into(buffer):
        checksum.update(buffer[:count])
    return checksum.hexdigest()


async def transfer(source: Peer, sink: Peer, blocks: int) -> None:
    """Move bulk data from one end of the tunnel to the other, and compare the checksums."""
    sums = await asyncio.gather(asyncio.to_thread(upload, source.sock, blocks), asyncio.to_thread(download, sink.sock))
    assert sums[0] == sums[1]


async def both_ends(net: Net, tunnel: Tunnel, target_port: int) -> tuple[Peer, Peer]:
    """Return a user and the target's end of the user's connection."""
    listener = net.listen(target_port)
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    return user, target


@pytest.mark.both_loops
async def test_echoes_of_every_size(plane: str, any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    for size in (1, 1000, 65536, 5_000_000):
        user = await tunnel.user()
        data = os.urandom(size)
        assert await exchange(user, data) == data
        user.close()


@pytest.mark.both_loops
async def test_one_byte_at_a_time(plane: str, any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    user = await tunnel.user()
    for byte in cuts(bytes(range(256)), 1):
        await user.send(byte)
        assert await user.receive(1) == byte


async def carry_bulk(net: Net, direction: str, blocks: int) -> None:
    """Move ``blocks`` from one end of a new tunnel to the other."""
    target_port = free_port()
    tunnel = await net.tunnel(target_port)
    user, target = await both_ends(net, tunnel, target_port)
    source, sink = (user, target) if direction == "to the target" else (target, user)
    await transfer(source, sink, blocks)


@pytest.mark.both_loops
@pytest.mark.parametrize("direction", ["to the target", "to the user"])
async def test_bulk(plane: str, any_net: Net, direction: str) -> None:
    await carry_bulk(any_net, direction, 21)


@pytest.mark.parametrize("direction", ["to the target", "to the user"])
async def test_a_hundred_megabytes(any_net: Net, direction: str) -> None:
    """Set BACKHAUL_LONG=1 for a gigabyte."""
    await carry_bulk(any_net, direction, 1025 if LONG else 101)


async def test_both_ways_at_once(any_net: Net) -> None:
    target_port = free_port()
    tunnel = await any_net.tunnel(target_port)
    user, target = await both_ends(any_net, tunnel, target_port)
    await asyncio.gather(transfer(user, target, 20), transfer(target, user, 20))


@pytest.mark.both_loops
async def test_many_users_at_once(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())

    async def visit(number: int) -> bool:
        user = await tunnel.user()
        data = number.to_bytes(4) * 500
        heard = await exchange(user, data)
        user.close()
        return heard == data

    assert all(await asyncio.gather(*(visit(number) for number in range(150))))


async def test_several_targets(any_net: Net) -> None:
    first, second = await any_net.echo(greeting=b"first:"), await any_net.echo(greeting=b"second:")
    tunnel = await any_net.tunnel(first, second)
    users = [await tunnel.user(0), await tunnel.user(1)]
    for user in users:
        await user.send(b"?")
    assert [await users[0].receive(7), await users[1].receive(8)] == [b"first:?", b"second:?"]


@pytest.mark.both_loops
@pytest.mark.parametrize("direction", ["to the target", "to the user"])
async def test_a_reader_that_stalls_stops_the_sender_and_loses_nothing(
    plane: str, any_net: Net, direction: str
) -> None:
    target_port = free_port()
    tunnel = await any_net.tunnel(target_port)
    user, target = await both_ends(any_net, tunnel, target_port)
    source, sink = (user, target) if direction == "to the target" else (target, user)
    accepted = await fill(source)
    assert accepted < 64 * MEGABYTE  # the buffers of the kernel along the way
    source.shut_write()
    assert await sink.receive_all() == bytes(accepted)


async def test_small_echoes_pass_during_a_bulk_transfer(any_net: Net) -> None:
    bulk_port = free_port()
    tunnel = await any_net.tunnel(bulk_port, await any_net.echo())
    user, target = await both_ends(any_net, tunnel, bulk_port)
    bulk = asyncio.ensure_future(transfer(user, target, 80))
    small = await tunnel.user(1)
    echoes = 0
    while not bulk.done() and echoes < 2000:
        await small.send(b"ping")
        assert await small.receive(4) == b"ping"
        echoes += 1
    await bulk
    assert echoes > 20


async def test_the_meters_count_every_byte(plane: str, any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(greeting=b""))
    user = await tunnel.user()
    await exchange(user, bytes(3_000_000))
    user.close()
    (port,) = tunnel.server.tunnel.ports.open.values()
    await until(lambda: not port.open)
    assert (port.traffic.received.bytes, port.traffic.sent.bytes, port.total) == (3_000_000, 3_000_000, 1)
    ((_, counters),) = tunnel.client.tunnel.targets
    traffic = counters.traffic
    assert (traffic.received.bytes, traffic.sent.bytes) == (3_000_000, 3_000_000)
    await until(lambda: not counters.open)
    assert (counters.total, counters.dropped) == (1, 0)


async def test_users_are_counted_on_both_ends(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(greeting=b""), closed := free_port())
    users = [await tunnel.user() for _ in range(3)]
    for user in users:
        await exchange(user, b"hello")
    ((_, counters),) = tunnel.client.tunnel.targets
    port = tunnel.server.tunnel.ports.open[HOST, tunnel.ports[0], ""]
    assert (counters.open, counters.total) == (port.open, port.total) == (3, 3)
    await (await tunnel.user(1)).closed()
    assert tunnel.client.tunnel.targets[str(closed)].dropped == 1
    for user in users:
        user.close()
    await until(lambda: not counters.open and not port.open)


@pytest.mark.parametrize("size", [4_097, 10_000, 16_000, 100_000])
async def test_the_first_bytes_of_a_session_wait_for_no_others(any_net: Net, size: int) -> None:
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    user = await tunnel.user()
    await user.send(bytes(size))
    target = await listener.accept()
    assert await target.receive(size) == bytes(size)
    await target.send(bytes(size))
    assert await user.receive(size) == bytes(size)
