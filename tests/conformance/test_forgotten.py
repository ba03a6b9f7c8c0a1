"""Idle tunnel connections that a NAT has forgotten, while both ends consider them open."""

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net

POOL = 4


@pytest.mark.parametrize("any_net", ["tcp", "ws", "wss"], indirect=True)
async def test_one_user_is_lost_and_the_next_ones_are_served(any_net: Net) -> None:
    any_net.patience["alive"] = 0.0  # seconds that a NAT remembers
    port, bind_port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    middlebox = any_net.middlebox(bind_port)
    await any_net.client(middlebox.port, f"connection_pool = {POOL}")
    await until(lambda: server.tunnel.transport.idle == POOL)
    _, *idle = middlebox.paths
    for path in idle:
        path.freeze()
    lost = await any_net.dial(port)
    await lost.send(b"into the void")
    for _ in range(3 * POOL):
        await until(lambda: server.tunnel.transport.idle == POOL)
        await echo(await any_net.dial(port), b"hello")
    assert lost.silent()
    for path in idle:
        await path.cut()
