"""An outage, during which no packet of any connection arrives: the users who survive it, and new ones."""

import asyncio

import pytest
from tests.support.mux import links_of
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, server_config
from tests.wire.smux.ends import End

from backhaul.assembly import mux_settings
from backhaul.net.predicates import retransmissions
from backhaul.wire.smux import Role

MUX = ["tcpmux", "wsmux", "wssmux"]


@pytest.mark.parametrize("any_net", MUX, indirect=True)
async def test_users_survive_an_outage_that_ends_the_control_channel(any_net: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    middlebox = any_net.middlebox(bind_port)
    client = await any_net.client(middlebox.port)
    user = await any_net.dial(port)
    await echo(user, b"hello")
    down = list(middlebox.paths)
    for path in down:
        path.swallow()
    await user.send(b"during the outage")
    client.tunnel.control_lost("the line is down")
    await until(lambda: client.tunnel.opened == 2 and server.tunnel.connected)
    for path in down:
        path.pass_on()
    assert await user.receive(17) == b"during the outage"


def test_silence_ends_a_session_no_sooner_than_it_ends_other_connections() -> None:
    """The control channel of every transport is given up long before, and new users go elsewhere."""
    end = End(Role.CLIENT, mux_settings(server_config("tcpmux", "127.0.0.1:1", [])))
    end.open()
    while (now := end.session.next_deadline) < 300:
        end.session.tick(now)
    assert end.session.error is None


@pytest.mark.parametrize("any_net", ["tcpmux", "wssmux"], indirect=True)
async def test_new_users_go_to_a_session_that_acknowledges_bytes(any_net: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"], "mux_con = 100")
    middlebox = any_net.middlebox(bind_port)
    await any_net.client(middlebox.port, "connection_pool = 2")
    await until(lambda: len(links_of(server)) == 2)
    first = await any_net.dial(port)
    await echo(first, b"hello")
    (dead,) = [link for link in links_of(server) if len(link)]
    path = next(path for path in middlebox.paths if path.leads_to(dead.conn.getpeername()))
    path.swallow()
    await first.send(b"after the outage")
    await until(lambda: retransmissions(dead.conn) >= 2)
    others = [await any_net.dial(port) for _ in range(4)]
    await asyncio.gather(*(echo(user, b"elsewhere") for user in others))
    assert dead.stalled
    path.pass_on()
    assert await first.receive(16) == b"after the outage"
    await until(lambda: not dead.stalled)
