"""Users for whom the client opens no other session, although all have as many users as they should."""

import pytest
from tests.support.middlebox import Middlebox
from tests.support.net import echo, free_port, until
from tests.support.tunnel import Net

from backhaul.server import Server

pytestmark = pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)

SESSIONS = 2


async def full(net: Net) -> tuple[Middlebox, Server, int]:
    """Return a line that lets no more connections pass, its server, and the users' port; each session has a user."""
    net.patience = {"request": 0.05}
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{port}={await net.echo()}"], "mux_con = 1")
    line = net.middlebox(bind_port)
    line.most = 1 + SESSIONS
    await net.client(line.port, f"connection_pool = {SESSIONS}")
    await until(lambda: server.tunnel.transport.idle == SESSIONS)
    for _ in range(SESSIONS):
        await echo(await net.dial(port), b"hello")
    return line, server, port


async def test_they_share_the_sessions_of_a_client_that_answers(any_net: Net) -> None:
    _, server, port = await full(any_net)
    for _ in range(SESSIONS):
        await echo(await any_net.dial(port), b"hello")
    assert [link.streams for link in server.state().relay.links] == [2, 2]


async def test_they_are_given_up_if_the_client_is_dead(any_net: Net) -> None:
    any_net.timings = {"user_patience": 0.2}
    line, _, port = await full(any_net)
    for path in line.paths:
        path.freeze()
    assert not await (await any_net.dial(port)).closed()
    for path in line.paths:
        await path.cut()


async def test_the_first_one_shares_a_session_if_no_more_may_wait(any_net: Net) -> None:
    any_net.patience = {"request": 3600.0, "answered": 3600.0}
    bind_port, port = free_port(), free_port()
    server = await any_net.server(
        bind_port, [f"{port}={await any_net.echo()}"], f"mux_con = 1\nchannel_size = {SESSIONS}"
    )
    line = any_net.middlebox(bind_port)
    line.most = 1 + SESSIONS
    await any_net.client(line.port, "connection_pool = 1")
    await until(lambda: server.tunnel.transport.idle)
    for _ in range(SESSIONS):  # the second one is opened on request
        await echo(await any_net.dial(port), b"hello")
    first, second = await any_net.dial(port), await any_net.dial(port)
    await until(lambda: server.tunnel.waiting == SESSIONS)
    await any_net.dial(port)
    await echo(first, b"hello")
    assert second.silent()
