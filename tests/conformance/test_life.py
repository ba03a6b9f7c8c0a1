"""Users when the control channel or one of the two ends is lost and returns."""

import asyncio
import logging
import re
from dataclasses import dataclass

import pytest
from tests.support.middlebox import Middlebox
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import BUILT, Net

from backhaul.client import Client
from backhaul.server import Server
from backhaul.tunnel.pool import PoolSize


@dataclass
class Site:
    """Both ends of a tunnel, a middlebox between them, and an echo service as the target."""

    net: Net
    server: Server
    client: Client
    middlebox: Middlebox
    bind_port: int
    mapping: str

    async def user(self) -> Peer:
        """Connect to the user's port."""
        return await self.net.dial(int(self.mapping.partition("=")[0].rpartition(":")[2]))

    async def served(self) -> Peer:
        """Return a user who has received an answer."""
        user = await self.user()
        await echo(user, b"hello")
        return user


@pytest.fixture
async def site(any_net: Net) -> Site:
    bind_port = free_port()
    mapping = f"{HOST}:{free_port()}={await any_net.echo()}"
    server = await any_net.server(bind_port, [mapping])
    middlebox = any_net.middlebox(bind_port)
    client = await any_net.client(middlebox.port)
    await until(lambda: server.tunnel.connected and client.tunnel.connected)
    return Site(any_net, server, client, middlebox, bind_port, mapping)


async def test_the_control_channel_is_cut(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    old = await site.served()
    await site.middlebox.paths[0].cut()
    meanwhile = [await site.user() for _ in range(5)]
    for number, user in enumerate(meanwhile):
        await echo(user, b"meanwhile %d" % number)
    await echo(old, b"still here")
    await site.served()
    assert caplog.text.count("control channel lost") == 2  # a line in the log of each end


async def test_a_loss_after_a_long_silence_is_logged_with_its_length(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.transports.control.silence.NOTABLE", 0.0)
    await site.middlebox.paths[0].cut()
    await until(lambda: site.client.tunnel.opened == 2)
    assert len(re.findall(r"control channel lost: .* after 0 s of silence", caplog.text)) == 2


async def test_the_server_does_not_know_that_the_control_channel_is_gone(site: Site) -> None:
    """The client that returns takes over at once, without a wait for the old one to time out."""
    old = await site.served()
    site.middlebox.paths[0].freeze()
    site.client.tunnel.control_lost("the network has changed")
    await until(lambda: not site.client.tunnel.connected)
    await site.served()
    await echo(old, b"still here")


async def test_the_server_is_restarted(site: Site) -> None:
    await site.served()
    site.net.close_peers()
    await site.net.stop(site.server)
    server = await site.net.server(site.bind_port, [site.mapping])
    await site.served()
    assert server.tunnel.connected


async def test_the_client_is_restarted(site: Site) -> None:
    await site.served()
    site.net.close_peers()
    await site.net.stop(site.client)
    waiting = await site.user()
    await site.net.client(site.bind_port)
    await echo(waiting, b"waited")


async def test_another_client_takes_over(site: Site) -> None:
    old = await site.served()
    # The server could count the connections that it dials now as the other client's.
    await until(lambda: not site.client.tunnel.transport.opening)
    replacement = await site.net.client(site.bind_port)  # refused while the first one answers
    stopping = asyncio.ensure_future(site.net.stop(site.client))  # it ends when its user does
    await until(lambda: replacement.tunnel.connected)
    await site.served()
    await echo(old, b"still here")
    old.close()
    await stopping


async def test_both_ends_are_stopped_with_users_in_flight(site: Site) -> None:
    users = [await site.served() for _ in range(10)]
    stopping = asyncio.gather(site.net.stop(site.server), site.net.stop(site.client))
    for user in users:
        await echo(user, b"last words")
        user.close()
    await stopping


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many idle connections clients have found whenever they looked at their pool."""
    found: list[int] = []
    sample = PoolSize.sample

    def look(pool: PoolSize, idle: int, opening: int, shared: int = 0) -> int:
        found.append(idle)
        return sample(pool, idle, opening, shared)

    monkeypatch.setattr(PoolSize, "sample", look)
    return found


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
async def test_users_on_every_session_cause_no_further_sessions(any_net: Net, looks: list[int]) -> None:
    any_net.timings = {"look": 0.01}
    tunnel = await any_net.tunnel(await any_net.echo(), client="connection_pool = 3")
    sessions = tunnel.client.relay.links
    await until(lambda: len(sessions) == 3)
    for _ in range(3):
        await echo(await tunnel.user(), b"hello")
    assert all(session.state().streams == 1 for session in sessions)
    before = len(looks)
    await until(lambda: len(looks) >= before + 5)
    assert len(sessions) == 3


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
async def test_surplus_sessions_after_a_peak_are_closed(any_net: Net) -> None:
    any_net.patience = {"unused": 0.05}
    tunnel = await any_net.tunnel(await any_net.echo(), server="mux_con = 1", client="connection_pool = 2")
    sessions = tunnel.client.relay.links
    await until(lambda: len(sessions) == 2)
    users = [await tunnel.user() for _ in range(12)]
    for user in users:
        await echo(user, b"hello")
    assert len(sessions) >= 12
    stays = users.pop()
    for user in users:
        user.close()
    await until(lambda: len(sessions) <= 3)
    await echo(stays, b"still here")
    await echo(await tunnel.user(), b"hello")
    assert len(tunnel.server.relay.links) >= 2


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
async def test_a_burst_of_users_right_after_another_one(any_net: Net, looks: list[int]) -> None:
    any_net.timings = {"look": 0.05}
    tunnel = await any_net.tunnel(await any_net.echo(), server="mux_con = 1", client="connection_pool = 2")
    for count in (12, 24):
        users = [await tunnel.user() for _ in range(count)]
        for user in users:
            await echo(user, b"hello")
        for user in users:
            user.close()
        await until(lambda: not any(link.streams for link in tunnel.client.relay.state().links))
        before = len(looks)
        await until(lambda: len(looks) >= before + 2)  # noqa: B023 - between them all sessions are idle: too many


@pytest.mark.parametrize("transport", BUILT)
async def test_the_server_reports_that_the_tunnel_is_up_before_a_user_arrives(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A session of v0.7.2 is silent for 20 seconds; that of a client with extensions is known by its admission."""
    caplog.set_level(logging.INFO)
    async with Net(transport) as net:
        await net.tunnel()
        await until(lambda: ("backhaul.server", "tunnel is up") in {(r.name, r.message) for r in caplog.records})
