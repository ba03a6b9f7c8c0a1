"""First contact on a line that is slower than v0.7.2 allows: the tunnel comes up, protected."""

import pytest
from tests.support.eavesdropper import Eavesdropper
from tests.support.middlebox import Line
from tests.support.net import echo, free_port, until
from tests.support.tunnel import TOKEN, Net

_DELAY = 1.1  # seconds each way: more than 2 s for an answer


@pytest.mark.parametrize("any_net", ["tcp", "wss"], indirect=True)  # the others share their handshakes
async def test_first_contact(any_net: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{port}={await any_net.echo()}"], 'offline = "wait"')
    async with Eavesdropper(any_net.listen(), bind_port) as between:
        line = any_net.middlebox(between.port, Line(delay=_DELAY))
        client = await any_net.client(line.port)
        await until(lambda: server.tunnel.connected and client.tunnel.transport.idle)
        await echo(await any_net.dial(port), b"over there")
        assert TOKEN.encode() not in between.heard


async def test_users_wait_while_connections_for_them_are_dialled(any_net: Net) -> None:
    bind_port, port = free_port(), free_port()
    any_net.timings, any_net.patience = {"user_patience": 0.01}, {"request": 0.01}  # far less than a round trip
    server = await any_net.server(bind_port, [f"{port}={await any_net.echo()}"], "mux_con = 1")
    line = any_net.middlebox(bind_port, Line(delay=0.1))
    client = await any_net.client(line.port, "connection_pool = 1")
    await until(lambda: server.tunnel.connected and client.tunnel.transport.idle)
    users = [await any_net.dial(port) for _ in range(3)]
    for user in users:
        await echo(user, b"over there")
    assert len(line.paths) <= 1 + 2 * len(users)  # each user takes one, and may request another
