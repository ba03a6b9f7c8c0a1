"""The stop of a server with users, alone or with a successor."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.datagrams import FLOWS, UdpNet, repeat
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import NO_WAIT

from backhaul.client import Client
from backhaul.net.listeners import Listeners
from backhaul.server import Server
from backhaul.tunnel.timings import Timings

PATIENT = Timings(quiet=3600, handshakes=0.02)


class Stage:
    """A server with TCP or UDP users, and its successors."""

    def __init__(self, net: UdpNet) -> None:
        self.net = net
        self.datagrams = net.transport == "udp"
        self.bind, self.port = free_port(), free_port()
        self.succeeded = False

    async def server(self, *, shared: bool = False, shutdown_timeout: float = 60) -> Server:
        """Start a server."""
        target = self.net.udp_echo().port if self.datagrams else await self.net.echo()
        return await self.net.server(
            self.bind,
            [f"{HOST}:{self.port}={target}"],
            FLOWS[self.net.transport],
            timings=NO_WAIT if shared else PATIENT,
            listeners=Listeners(shared=shared),
            shutdown_timeout=shutdown_timeout,
        )

    async def connected(self, server: Server) -> Client:
        """Start a client; return it when the server has it."""
        client = await self.net.client(self.bind)
        await until(lambda: server.tunnel.connected)
        return client

    async def served(self) -> None:
        """Be a new user who gets an answer."""
        if self.datagrams:
            user = self.net.udp(self.port)
            await repeat(lambda: user.send(b"hello"), lambda: user.heard)  # in a change of servers one may be lost
        else:
            peer = await self.net.dial(self.port)
            await echo(peer, b"hello")
            peer.close()

    def stop(self, server: Server) -> "asyncio.Task[None]":
        """Begin to stop a server, which then checks for a successor."""
        return asyncio.ensure_future(server.stop(lambda: self.succeeded))


@pytest.fixture(params=["tcp", "wsmux", "udp"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with UdpNet(request.param) as net:
        yield Stage(net)


async def test_a_stopping_server_serves_until_its_time_is_over(stage: Stage) -> None:
    server = await stage.server(shutdown_timeout=0.5)
    await stage.connected(server)
    await stage.served()
    stopping = stage.stop(server)
    await until(lambda: server.stopping)
    await stage.served()
    await stopping


async def test_users_and_client_are_left_to_the_successor(stage: Stage) -> None:
    server = await stage.server()
    client = await stage.connected(server)
    await stage.served()
    stopping = stage.stop(server)
    await until(lambda: server.stopping)
    successor = await stage.server(shared=True)
    stage.succeeded = True
    await stage.served()
    await stopping
    await until(lambda: successor.tunnel.connected and client.tunnel.connected)
    await stage.served()
    assert sum(port.total + port.udp.total for port in successor.tunnel.ports.all.values()) >= 1


async def test_a_server_without_users_ends_at_once(stage: Stage) -> None:
    server = await stage.server(shutdown_timeout=3600)
    await stage.connected(server)
    await stage.stop(server)
    assert not server.tunnel.connected


@pytest.mark.parametrize("stage", ["tcp", "wsmux"], indirect=True)
async def test_a_burst_during_a_takeover_loses_no_user(stage: Stage) -> None:
    """Carriers dialled for users of the old server must not reach the new one."""
    server = await stage.server()
    await stage.connected(server)
    await stage.served()
    stopping = stage.stop(server)
    await until(lambda: server.stopping)
    await stage.server(shared=True)
    (port,) = server.tunnel.ports.open.values()
    before = port.total
    users = asyncio.gather(*(stage.served() for _ in range(150)))
    await until(lambda: port.total > before)  # the kernel shares them out among both
    stage.succeeded = True
    await users
    await stopping
