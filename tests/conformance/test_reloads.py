"""Users who outlive a reload, and then the loss of the connections on which they came."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.support.cert import certificate
from tests.support.clients import config_of, table, token_of
from tests.support.net import HOST, Peer, echo, free_port, until, until_reset
from tests.support.torn import BULK, Torn, begun, exchange, sessions, with_resumption
from tests.support.tunnel import Net, change, client_config

from backhaul.client import Client
from backhaul.config import Secret
from backhaul.server import Server
from backhaul.system.known_servers import KnownServers

CERT, KEY = certificate()
TLS = {"transport": "wssmux", "tls_cert": str(CERT), "tls_key": str(KEY)}

ELSEWHERE = ["tcp", "wsmux", "ws"]  # other carriers behind the same gate, and another gate

tcpmux = pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)

Reload = Callable[[Torn], Awaitable[None]]


async def larger_frames(torn: Torn) -> None:
    await change(torn.server, mux_framesize=65535)


async def other_socket_options(torn: Torn) -> None:
    await change(torn.client, nodelay=True, keepalive_period=7)


async def another_token(torn: Torn) -> None:
    for end in (torn.server, torn.client):
        await change(end, accepted=(Secret("another"),))


async def another_transport(torn: Torn) -> None:
    await change(torn.server, **TLS)
    await change(torn.client, transport="wssmux")


async def another_transport_on_the_client_first(torn: Torn) -> None:
    await change(torn.client, transport="wsmux")
    await change(torn.server, transport="wsmux")


async def another_port(torn: Torn) -> None:
    port = free_port()
    await change(torn.server, bind_addr=msgspec.structs.replace(torn.server.config.bind_addr, port=port))
    torn.middlebox = torn.net.middlebox(port)
    remote = msgspec.structs.replace(torn.client.config.remote_addr, port=torn.middlebox.port)
    await change(torn.client, remote_addr=remote)


RELOADS: list[Reload] = [
    larger_frames,
    other_socket_options,
    another_token,
    another_transport,
    another_transport_on_the_client_first,
    another_port,
]


async def cut_everything(torn: Torn) -> None:
    for middlebox in torn.net.middleboxes:
        for path in middlebox.paths:
            await path.cut()
        middlebox.paths.clear()


async def remembered(net: Net, folder: Path) -> tuple[Server, Client]:
    """Start a tunnel whose client remembers that the server was protected."""
    bind_port = free_port()
    server = await net.server(bind_port, [], 'security = "auto"')
    client = await net.client(bind_port, 'security = "auto"', known=KnownServers(folder))
    await until(lambda: client.session().connected)
    return server, client


async def served(torn: Torn) -> Peer:
    """Return a new user, as soon as both ends have met again."""
    await until(lambda: torn.server.session().connected and torn.client.session().connected)
    return await torn.user()


@tcpmux
@pytest.mark.parametrize("form", ["", "encryption = true"], ids=["clear", "sealed"])
@pytest.mark.parametrize("reload", RELOADS)
async def test_users_outlive_a_reload_and_their_connections(any_net: Net, reload: Reload, form: str) -> None:
    torn = await Torn.start(any_net, client=form)
    idle, busy = await torn.user(), [await torn.user() for _ in range(3)]
    exchanges = [asyncio.create_task(exchange(user)) for user in busy]
    await until(begun(torn.client))
    await reload(torn)
    await served(torn)
    exchanges += [asyncio.create_task(exchange(await served(torn)))]
    await cut_everything(torn)
    assert all(answer == BULK for answer in await asyncio.gather(*exchanges))
    await echo(idle, b"still here")
    await echo(await served(torn), b"a new one")
    await until(lambda: not torn.resumed.parked and not torn.server.state().relay.resumption.parked)


@tcpmux
async def test_bytes_that_were_encrypted_never_cross_the_line_in_clear(any_net: Net) -> None:
    torn = await Torn.start(any_net, client="encryption = true")
    user = await torn.user()
    await change(torn.client, encryption=False)
    await served(torn)
    await echo(user, b"on the connection of before")
    await cut_everything(torn)
    await until_reset(user)
    await echo(await served(torn), b"in clear")


@tcpmux
async def test_bytes_that_were_encrypted_on_a_later_connection_never_cross_another_one_in_clear(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    await change(torn.client, encryption=True)
    await served(torn)
    await cut_everything(torn)
    await echo(user, b"encrypted now")
    await change(torn.client, encryption=False)
    await served(torn)
    await cut_everything(torn)
    await until_reset(user)


@pytest.mark.parametrize("any_net", ["wssmux"], indirect=True)
async def test_bytes_inside_tls_never_cross_the_line_in_clear(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    for end in (torn.server, torn.client):
        await change(end, transport="tcpmux")
    await served(torn)
    await echo(user, b"on the connection of before")
    await cut_everything(torn)
    await until_reset(user)
    await echo(await served(torn), b"in clear")


@tcpmux
async def test_bytes_of_a_silent_connection_that_were_encrypted_never_cross_another_one_in_clear(any_net: Net) -> None:
    any_net.patience, any_net.timings = {"unacknowledged": 0.05, "look": 0.02}, {"urgent": 0.02}
    torn = await Torn.start(any_net, server="encryption = true", pool=1)
    user = await torn.user()
    bulk = asyncio.create_task(exchange(user))
    await until(begun(torn.client))
    torn.middlebox.most = 0
    silent = torn.middlebox.paths[1:]
    for path in silent:
        path.freeze()
    await change(torn.server, encryption=False)
    await until(lambda: not torn.client.session().connected)
    torn.middlebox.most = math.inf
    await echo(await served(torn), b"in clear")
    for path in silent:
        await path.cut()
    with pytest.raises(ConnectionResetError):
        await bulk
    assert not torn.resumed.resumes


@tcpmux
@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_users_outlive_a_reload_to_a_transport_without_sessions_but_not_their_connections(
    any_net: Net, transport: str
) -> None:
    torn = await Torn.start(any_net)
    user, lost = await torn.user(), await torn.user()
    for end in (torn.server, torn.client):
        await change(end, transport=transport)
    await echo(await served(torn), b"a new one")
    await echo(user, b"on the connection of before")
    await cut_everything(torn)
    await until_reset(user)
    await until_reset(lost)
    await echo(await served(torn), b"another new one")
    await until(lambda: not torn.resumed.parked and not torn.server.state().relay.resumption.parked)


@tcpmux
@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_users_without_a_connection_are_reset_after_a_reload_to_a_transport_without_sessions(
    any_net: Net, transport: str
) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    await change(torn.server, transport=transport)
    await until(lambda: not torn.client.session().connected)
    await cut_everything(torn)
    await until(lambda: torn.resumed.parked and torn.server.state().relay.resumption.parked)
    await change(torn.client, transport=transport)
    await until_reset(user)
    await echo(await served(torn), b"a new one")


@tcpmux
@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_stop_after_a_reload_keeps_no_session(any_net: Net, end: str) -> None:
    torn = await Torn.start(any_net, server="shutdown_timeout = 1")
    user = await torn.user()
    await larger_frames(torn)
    await served(torn)
    stopping = asyncio.create_task(any_net.stop(torn.server if end == "server" else torn.client))
    other = torn.client if end == "server" else torn.server
    await until(lambda: not other.session().connected)
    await cut_everything(torn)
    await until_reset(user)
    await stopping


@tcpmux
async def test_users_need_no_control_channel_once_an_end_has_announced_its_stop(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    assert torn.client.tunnel.transport.urgent
    for link in sessions(torn.client):
        link.keep_no_longer()
    assert not torn.client.tunnel.transport.urgent
    await echo(user, b"still here")


class Doors:
    """Two ways to one server, of which the client takes the first that works."""

    def __init__(self, torn: Torn) -> None:
        self.torn, self.first = torn, torn.middlebox
        self.second = torn.net.middlebox(torn.server.config.bind_addr.port)

    async def add(self) -> None:
        """Tell the client of the second door."""
        lines = f'connection_pool = 2\nservers = [{{ addr = "{HOST}:{self.second.port}" }}]'
        config = client_config("tcpmux", f"{HOST}:{self.first.port}", with_resumption(lines))
        await self.torn.client.reconfigure(config)


@tcpmux
async def test_sessions_go_through_the_second_door_when_the_first_is_lost(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    doors = Doors(torn)
    await doors.add()
    idle, busy = await torn.user(), await torn.user()
    bulk = asyncio.create_task(exchange(busy))
    await until(begun(torn.client))
    await any_net.remove(doors.first)
    assert await bulk == BULK
    await echo(idle, b"still here")
    await echo(await served(torn), b"a new one")
    assert doors.second.paths
    assert torn.resumed.resumes >= 2


@tcpmux
async def test_sessions_of_the_second_door_return_when_the_first_is_back(any_net: Net) -> None:
    any_net.timings = {"stable": 0.1}
    torn = await Torn.start(any_net)
    doors = Doors(torn)
    await doors.add()
    await any_net.remove(doors.first)
    await until(lambda: bool(doors.second.paths) and torn.client.session().connected)
    user = await served(torn)
    any_net.middlebox(torn.server.config.bind_addr.port, at=doors.first.port)
    await until(lambda: torn.client.state().servers[0].session.connected)
    await until(lambda: not torn.client.state().servers[1].in_use)
    await echo(user, b"on the second door")
    await any_net.remove(doors.second)
    await echo(user, b"on the first door")


@tcpmux
async def test_a_server_gets_no_session_of_another_client_although_it_is_the_same_process(any_net: Net) -> None:
    """One of its clients could otherwise learn by which bytes a server is known, and pretend to be that server."""
    bind_port, port = free_port(), free_port()
    tables = table("berlin", [f"{HOST}:{port}={await any_net.echo()}"]) + table("paris")
    server = await any_net.run(config_of("tcpmux", bind_port, tables, with_resumption("")))
    first, second = any_net.middlebox(bind_port), any_net.middlebox(bind_port)
    other = f'servers = [{{ addr = "{HOST}:{second.port}", token = "{token_of("paris")}" }}]'
    client = await any_net.client(first.port, with_resumption(f'token = "{token_of("berlin")}"\n{other}'))
    torn = Torn(any_net, server, client, first, port)
    await until(lambda: server.tunnels["berlin"].connected)
    user = await torn.user()
    await any_net.remove(first)
    await until(lambda: server.tunnels["paris"].connected)
    any_net.middlebox(bind_port, at=first.port)
    await echo(user, b"still here")
    assert torn.resumed.resumes == 1


@tcpmux
@pytest.mark.parametrize("transport", ELSEWHERE)
@pytest.mark.parametrize("first", ["server", "client"])
async def test_an_end_that_follows_a_reload_late_causes_no_error(
    any_net: Net, transport: str, first: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server, client = await remembered(any_net, tmp_path)
    ends = (server, client) if first == "server" else (client, server)
    await change(ends[0], transport=transport)
    await until(lambda: "yet: this end or the other one has just changed (2 times in a row)" in caplog.text)
    await change(ends[1], transport=transport)
    await until(lambda: server.session().connected and client.session().connected)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "refused" not in caplog.text


@tcpmux
@pytest.mark.parametrize("transport", [*ELSEWHERE, "wss"])
async def test_the_gate_of_a_reloaded_server_knows_the_client_of_the_former_one(
    any_net: Net, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    any_net.limits = replace(any_net.limits, failures=1)
    server, client = await remembered(any_net, tmp_path)
    line = "has just changed (2 times in a row)"
    for name in (transport, "tcpmux"):
        caplog.clear()
        await change(server, transport=name, tls_cert=str(CERT), tls_key=str(KEY))
        await until(lambda: line in caplog.text)
        await change(client, transport=name)
        await until(lambda: server.session().connected and client.session().connected)
        assert "refused" not in caplog.text
        assert "too many failed attempts" not in caplog.text


@tcpmux
@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_a_client_that_stays_different_is_named_by_the_gate_of_the_server(
    any_net: Net, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.limits = replace(any_net.limits, changeover=0.1)
    torn = await Torn.start(any_net)
    await change(torn.client, transport=transport)
    await until(lambda: "refused a connection from 127.0.0.1: it" in caplog.text)


@tcpmux
@pytest.mark.parametrize("transport", ELSEWHERE)
@pytest.mark.parametrize("first", ["server", "client"])
async def test_an_end_that_does_not_follow_a_reload_causes_an_error(
    any_net: Net, transport: str, first: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.timings = {"changeover": 0.2}
    server, client = await remembered(any_net, tmp_path)
    await change(server if first == "server" else client, transport=transport)
    await until(lambda: any(record.levelno == logging.ERROR for record in caplog.records))
    reasons = ("was protected before: is the token right?", "this server", "closed the connection during the upgrade")
    assert any(reason in caplog.text for reason in reasons)
