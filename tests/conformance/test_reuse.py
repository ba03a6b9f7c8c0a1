"""Tunnel connections that serve one user after the other, through both ends."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from tests.support.lives import Crowd, lives
from tests.support.middlebox import Middlebox
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import Net, change

from backhaul.client import Client
from backhaul.server import Server

POOL = 8
USERS = int(os.environ.get("BACKHAUL_TEST_USERS", "300"))  # of random lives; a proof takes 100000, and an hour
CONTROL = 1


class Way(NamedTuple):
    """A way of carrying users on connections that come back."""

    transport: str
    lines: str

    def __str__(self) -> str:
        return self.transport + "-sealed" * bool(self.lines)


WAYS = [Way("tcp", ""), Way("ws", ""), Way("wss", ""), Way("tcp", "encryption = true"), Way("ws", "encryption = true")]


@dataclass
class Site:
    """Both ends of a tunnel, and a middlebox between them that counts connections."""

    net: Net
    server: Server
    client: Client
    middlebox: Middlebox
    port: int

    @property
    def opened(self) -> int:
        """The number of connections that the client has opened."""
        return len(self.middlebox.paths)

    async def user(self) -> Peer:
        """Connect to the user's port."""
        return await self.net.dial(self.port)

    async def served(self) -> Peer:
        """Return a user who has received an answer."""
        user = await self.user()
        await echo(user, b"hello")
        return user

    async def at_rest(self, idle: int = POOL) -> None:
        """Wait until so many connections are idle on both ends."""
        await until(lambda: self.server.tunnel.transport.idle == self.client.tunnel.transport.idle == idle)

    async def visit(self) -> None:
        """Be a user, from the first byte to both ends, and wait until the connection is idle again."""
        user = await self.served()
        user.shut_write()
        assert await user.closed()
        user.close()
        await until(lambda: not self.server.relay.live and not self.client.relay.live)


async def started(net: Net, lines: str, target: int) -> Site:
    """Start both ends, and wait until the pool is full."""
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={target}"], lines)
    middlebox = net.middlebox(bind_port)
    site = Site(net, server, await net.client(middlebox.port), middlebox, port)
    await until(lambda: server.tunnel.connected and site.opened == CONTROL + POOL)
    await site.at_rest()
    return site


@pytest.fixture(params=WAYS, ids=str)
async def way(request: pytest.FixtureRequest) -> Way:
    way: Way = request.param
    return way


@pytest.fixture
async def way_net(way: Way) -> AsyncIterator[Net]:
    async with Net(way.transport) as net:
        yield net


@pytest.fixture
async def site(way_net: Net, way: Way) -> Site:
    return await started(way_net, way.lines, await way_net.echo())


async def test_clean_users_need_no_further_connection(site: Site) -> None:
    for _ in range(3 * POOL):
        await site.visit()
    await site.at_rest()
    assert site.opened == CONTROL + POOL
    assert site.server.state().ports[0].total == 3 * POOL


async def test_every_user_of_random_lives_gets_exactly_its_own_bytes(way_net: Net, way: Way) -> None:
    listener = way_net.listen()
    crowd = Crowd(listener)
    site = await started(way_net, way.lines, listener.port)
    coming, unclean = lives(USERS), sum(not life.clean for life in lives(USERS))

    async def users() -> None:
        for life in coming:
            await crowd.live(life, await site.user())

    await asyncio.gather(*(users() for _ in range(3 * POOL)))
    await until(lambda: not site.server.relay.live and not site.client.relay.live)
    await crowd.close()
    assert not crowd.wrong
    assert site.opened <= CONTROL + POOL + 3 * POOL + POOL + unclean


async def test_a_peak_leaves_no_idle_connections_behind(way_net: Net, way: Way) -> None:
    way_net.patience["unused"] = 0.05
    site = await started(way_net, way.lines, await way_net.echo())
    users = [await site.served() for _ in range(5 * POOL)]
    assert site.opened > CONTROL + 5 * POOL
    for user in users:
        user.close()
    await site.at_rest()
    before = site.opened
    await site.visit()
    assert site.opened == before


async def test_long_lived_users_leave_idle_connections_for_others(site: Site) -> None:
    for _ in range(2 * POOL):
        await site.served()
    await until(lambda: site.client.tunnel.transport.idle >= POOL // 2)


@pytest.mark.parametrize("limit", ["connection_max_users", "connection_max_age"])
async def test_limits_of_a_connection_change_in_place(site: Site, limit: str) -> None:
    await site.visit()
    assert site.opened == CONTROL + POOL
    await change(site.server, **{limit: {"connection_max_users": 1, "connection_max_age": 0}[limit]})
    await site.visit()
    await until(lambda: site.opened == CONTROL + POOL + 1)
    await site.at_rest()
    assert site.server.tunnel.opened == 1


async def test_the_control_channel_is_cut_with_users_on_reused_connections(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.visit()
    old = await site.served()
    with caplog.at_level(logging.ERROR):
        await site.middlebox.paths[0].cut()
        await until(lambda: site.client.tunnel.opened == 2 and site.server.tunnel.opened == 2)
        await site.at_rest()
        await echo(old, b"still here")
        old.shut_write()
        assert await old.closed()
        old.close()
        await until(lambda: not site.server.relay.live and not site.client.relay.live)
        await site.visit()
        await site.at_rest()
    assert not caplog.records


@pytest.mark.parametrize("end", ["server", "client"])
async def test_an_end_that_stops_keeps_no_connection(site: Site, end: str) -> None:
    stopped, other = (site.server, site.client) if end == "server" else (site.client, site.server)
    await site.visit()
    user = await site.served()
    stopping = asyncio.create_task(site.net.stop(stopped))
    await echo(user, b"still here")
    user.close()
    await stopping
    await until(lambda: not other.tunnel.transport.idle)


async def test_users_who_wait_get_a_connection_that_comes_back(way_net: Net, way: Way) -> None:
    """The client may have no more than two connections: it refuses to dial."""
    bind_port, port = free_port(), free_port()
    server = await way_net.server(bind_port, [f"{HOST}:{port}={await way_net.echo()}"], way.lines)
    client = await way_net.client(bind_port, "connection_pool = 1", descriptors=4)
    await until(lambda: server.tunnel.transport.idle == client.tunnel.transport.idle == 1)
    first = await way_net.dial(port)
    await echo(first, b"first")
    second = await way_net.dial(port)
    await echo(second, b"second")
    waiting = await way_net.dial(port)
    await echo_later(first, waiting)


async def test_connections_with_users_do_not_count_as_waiting_ones(way_net: Net, way: Way) -> None:
    """Those that wait may take a quarter of the descriptors, here two; with their users they may take half."""
    bind_port, port = free_port(), free_port()
    await way_net.server(bind_port, [f"{HOST}:{port}={await way_net.echo()}"], way.lines)
    await way_net.client(bind_port, "connection_pool = 1", descriptors=8)
    users = []
    for _ in range(4):
        users.append(await way_net.dial(port))
        await echo(users[-1], b"all at the same time")


async def echo_later(first: Peer, waiting: Peer) -> None:
    """Expect an answer for the one who waits after the first one has left."""
    await waiting.send(b"waiting")
    first.close()
    assert await waiting.receive(7) == b"waiting"
