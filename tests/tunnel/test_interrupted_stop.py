"""A second signal at any moment of a stop: both ends end, and nothing of them goes on."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from tests.support.names import Names
from tests.support.net import HOST, PATIENCE, Peer, echo, free_port, until
from tests.support.tunnel import Net

from backhaul.client import Client
from backhaul.server import Server


async def end_in(end: Server | Client, turns: int) -> None:
    """End at once, after so many turns of the loop in a stop, as a process does at the second signal."""
    stopping = asyncio.create_task(end.stop())
    for _ in range(turns):
        await asyncio.sleep(0)
    stopping.cancel()
    await end.end()


@pytest.mark.parametrize("transport", ["tcp", "wsmux", "udp"])
@pytest.mark.parametrize("side", ["server", "client"])
async def test_nothing_remains(transport: str, side: str) -> None:
    for turns in range(6):
        async with Net(transport) as net:
            tunnel = await net.tunnel(await net.echo(), server="[server.limits]\nbytes_per_day = 1000000")
            if transport != "udp":
                await echo(await tunnel.user(), b"hello")
            await end_in(getattr(tunnel, side), turns)
            await until_left(tunnel.client if side == "server" else tunnel.server)


async def until_left(end: Server | Client) -> None:
    await until(lambda: not end.tunnel.connected)


async def test_a_target_is_dialled_no_more() -> None:
    """The name of the servers stands for each of them."""
    for turns in range(10):
        async with Net("tcp") as net:
            port, user_port, names = free_port(), free_port(), Names(servers_test=HOST)
            await net.server(port, [f"{HOST}:{user_port}=silent.test:80"])
            client = await net.client(port, host="all:servers.test", names=names)
            user = await dialling(net, client, user_port)
            await end_in(client, turns)
            await user.closed()
            names.let_go()


async def dialling(net: Net, client: Client, port: int) -> Peer:
    """Return a user whose target is being dialled."""
    user = await net.dial(port)
    await until(lambda: client.state().dialling)
    return user


class SlowStore:
    """Keeps quotas on a disk that is busy until the test releases it."""

    def __init__(self) -> None:
        self.writing, self.free = threading.Event(), threading.Event()
        self.free.set()
        self.stored = b""

    def update(self, change: Callable[[bytes], bytes]) -> None:
        """Store the change."""
        self.writing.set()
        self.free.wait(PATIENCE)
        self.stored = change(self.stored)


async def test_quotas_that_are_being_stored_are_stored_whole(net: Net) -> None:
    store = net.store = SlowStore()
    tunnel = await net.tunnel(await net.echo(), server="[server.limits]\nbytes_per_day = 1000")
    await echo(await tunnel.user(), b"bytes")
    store.free.clear()
    store.writing.clear()
    stopping = asyncio.create_task(tunnel.server.stop())
    await until(store.writing.is_set)
    stopping.cancel()
    ending = asyncio.create_task(tunnel.server.end())
    await asyncio.sleep(0)
    store.free.set()
    await ending
    assert b'"used":10' in store.stored
