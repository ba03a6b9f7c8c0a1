"""A drained end gets no new users, keeps the present ones, and takes new ones again after that."""

import pytest
from tests.support.net import Peer, echo, until
from tests.support.tunnel import Net, Tunnel, change

from backhaul.client import Client
from backhaul.monitor.events import EventLog
from backhaul.monitor.status import DRAINING, Status
from backhaul.overview import reader
from backhaul.server import Server


async def refused(tunnel: Tunnel) -> bool:
    """Return whether a user is refused at once."""
    try:
        (await tunnel.user()).close()
    except ConnectionRefusedError:
        return True
    return False


def status(end: Server | Client) -> Status:
    return reader(end.state, EventLog())()


async def start(net: Net) -> tuple[Tunnel, Peer]:
    """Start a tunnel with a user."""
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    await echo(user, b"hello")
    return tunnel, user


async def test_a_drained_server_refuses_new_users_only(net: Net) -> None:
    tunnel, user = await start(net)
    await tunnel.server.drain()
    assert await refused(tunnel)
    await echo(user, b"still here")
    shown = status(tunnel.server)
    assert (shown.draining, shown.connected, shown.ports[0].problem) == (True, True, DRAINING)
    await tunnel.server.resume()
    await echo(await tunnel.user(), b"welcome")
    assert not status(tunnel.server).draining


async def test_neither_a_reload_nor_a_client_ends_the_draining(net: Net) -> None:
    tunnel, user = await start(net)
    await tunnel.server.drain()
    await change(tunnel.server, heartbeat=7)
    user.close()  # the stop would wait for it
    await net.stop(tunnel.client)
    await net.client(tunnel.bind_port)
    await until(lambda: tunnel.server.tunnel.connected)
    assert await refused(tunnel)


@pytest.mark.parametrize("transport", ["tcp", "tcpmux"])  # the connections of users differ
async def test_a_drained_client_leaves_the_server_but_not_its_users(transport: str) -> None:
    async with Net(transport) as net:
        tunnel, user = await start(net)
        await tunnel.client.drain()
        await until(lambda: not tunnel.server.tunnel.connected)
        await change(tunnel.client, dial_timeout=7)  # which makes a new control channel otherwise
        await echo(user, b"still here")
        assert (status(tunnel.client).draining, status(tunnel.client).connected) == (True, False)
        await tunnel.client.resume()
        await until(lambda: tunnel.connected)
        await echo(await tunnel.user(), b"welcome")
        await echo(user, b"still here")


async def test_draining_twice_is_draining_once(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "backhaul")
    tunnel, user = await start(net)
    for end in (tunnel.server, tunnel.client):
        await end.drain()
        await end.drain()
        await end.resume()
        await end.resume()
    await until(lambda: tunnel.connected)
    await echo(user, b"still here")
    assert sum("no longer draining" in line for line in caplog.messages) == 2
    assert sum(line.startswith("draining") for line in caplog.messages) == 2
