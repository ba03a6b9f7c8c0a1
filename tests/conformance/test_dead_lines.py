"""Users whose lines have died together with the control channel, and users whose lines have only been silent."""

from collections.abc import AsyncIterator

import pytest
from tests.support.datagrams import UdpNet
from tests.support.middlebox import Middlebox, Path
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import LEGACY
from tests.support.udp_clients import insist

from backhaul.client import Client

ASKS_SOON = {"look": 0.02, "nap": -1.0, "silence": 3600, "suspicion": 0.1}  # asks as after a sleep


class Site:
    """A tunnel whose lines can be cut, with a single connection until there is a user."""

    def __init__(self, net: UdpNet, middlebox: Middlebox, client: Client, port: int) -> None:
        self.net, self.middlebox, self.client, self.port = net, middlebox, client, port

    async def served(self) -> Peer:
        """Return a user who has received an answer."""
        user = await self.net.dial(self.port)
        await echo(user, b"hello")
        return user

    async def reconnect(self) -> list[Path]:
        """Cut all lines, wait until the client has another control channel on a new one, and return the old ones."""
        old = await self.cut(0)
        await until(lambda: self.client.tunnel.opened > 1 and self.client.tunnel.connected)
        return old

    async def cut(self, first: int) -> list[Path]:
        """Cut all lines from this one on, when those of users are quiet, and return all."""
        paths = list(self.middlebox.paths)
        await until(lambda: all(path.settled for path in paths[1:]))
        for path in paths[first:]:
            path.swallow()
        return paths


async def site_of(net: UdpNet, lines: str = "") -> Site:
    net.patience = {"dead": 2.2}
    bind_port, port = free_port(), free_port()
    target = await net.echo()
    net.udp_echo(port=target)
    server = await net.server(bind_port, [f"{HOST}:{port}={target}"], "accept_udp = true")
    middlebox = net.middlebox(bind_port)
    client = await net.client(middlebox.port, lines, connection_pool=1)
    await until(lambda: server.tunnel.connected and client.tunnel.connected)
    return Site(net, middlebox, client, port)


@pytest.fixture(params=["tcp", "ws", "wss"])
async def net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    async with UdpNet(request.param) as net:
        yield net


@pytest.fixture
async def site(net: UdpNet) -> Site:
    net.timings = ASKS_SOON
    return await site_of(net)


async def ends(user: Peer) -> None:
    """Wait until the user is reset."""
    with pytest.raises(ConnectionResetError):
        await user.receive(1)


async def test_only_users_on_dead_lines_are_reset(site: Site) -> None:
    """Without that they wait for a quarter of an hour; they can come again."""
    dead = await site.served()  # on the only connection, which is the second path
    quiet, sends = await site.served(), await site.served()
    _control, _first, *others = await site.reconnect()
    await dead.send(b"in vain")
    await sends.send(b"delayed")
    for path in others:
        path.pass_on()
    await ends(dead)
    assert await sends.receive(7) == b"delayed"
    await echo(quiet, b"still here")
    await echo(await site.net.dial(site.port), b"here again")


async def test_datagrams_leave_dead_lines(site: Site) -> None:
    """While the user sends, no time-out ends the flow."""
    user = site.net.udp(site.port)
    await insist(user)
    await site.reconnect()
    await insist(user)


async def test_users_on_dead_lines_of_v072s_protocol(net: UdpNet) -> None:
    site = await site_of(net, LEGACY)
    user = await site.served()
    control, *_others = await site.cut(1)
    await control.cut()
    await until(lambda: site.client.tunnel.opened > 1)
    await user.send(b"in vain")
    await ends(user)
    await until(lambda: not site.client.relay.busy)
