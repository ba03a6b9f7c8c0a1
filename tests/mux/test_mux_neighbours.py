"""The cost of sessions that a neighbour opens on tcpmux, where an address is all that proves a client."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import Net

from backhaul.transports.settings import DEFAULT_LIMITS

ONE_OF_V072 = 'connection_pool = 1\nsecurity = "legacy"'  # one session, of which only the address is known


@pytest.fixture
def tcpmux(net: Net) -> Net:
    net.transport = "tcpmux"
    return net


async def answered(user: Peer) -> bool:
    """Send hello; return whether the target has received it before the other users have left."""
    await user.send(b"hello")
    try:
        return await user.receive(5) == b"hello"
    except (EOFError, OSError):
        return False


async def test_silent_sessions_of_a_neighbour_cost_one_user_at_a_time(tcpmux: Net) -> None:
    tunnel = await tcpmux.tunnel(await tcpmux.echo(), server="mux_con = 100", client=ONE_OF_V072)
    first = await tunnel.user()
    await echo(first, b"hello")
    for _ in range(50):
        await tcpmux.dial(tunnel.bind_port)
    await until(lambda: len(tunnel.server.relay.links) == 51)
    users = [await tunnel.user() for _ in range(20)]
    asked = [asyncio.ensure_future(answered(user)) for user in users]
    await until(lambda: sum(task.done() for task in asked) == len(asked) - 1)
    for user, task in zip(users, asked, strict=True):
        if not task.done():
            user.shut_write()
            task.cancel()
        else:
            assert task.result()


async def test_the_newest_silent_sessions_are_kept_up_to_the_limit(
    tcpmux: Net, caplog: pytest.LogCaptureFixture
) -> None:
    tcpmux.limits = replace(DEFAULT_LIMITS, unproven_sessions=3)
    tunnel = await tcpmux.tunnel(await tcpmux.echo(), client=ONE_OF_V072)
    user = await tunnel.user()
    await echo(user, b"hello")
    silent = [await tcpmux.dial(tunnel.bind_port) for _ in range(5)]
    for session in silent[:2]:
        assert await session.closed()
    assert len(tunnel.server.relay.links) == 4
    assert all(session.silent() for session in silent[2:])
    assert caplog.text.count("sessions have carried no answer yet") == 1
    await echo(user, b"still here")


async def test_sessions_with_users_make_no_room(tcpmux: Net) -> None:
    tcpmux.limits = replace(DEFAULT_LIMITS, unproven_sessions=1)
    bind_port, port, listener = free_port(), free_port(), tcpmux.listen()
    server = await tcpmux.server(bind_port, [f"{HOST}:{port}={listener.port}"])
    client = await tcpmux.client(bind_port, ONE_OF_V072)
    await until(lambda: client.tunnel.connected and server.relay.links)
    user, target = await asyncio.gather(tcpmux.dial(port), listener.accept())
    assert await (await tcpmux.dial(bind_port)).closed()
    await target.send(b"answer")
    assert await user.receive(6) == b"answer"
    await tcpmux.dial(bind_port)  # this one is proven now
    await until(lambda: len(server.relay.links) == 2)


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
async def test_no_client_has_more_sessions_than_channel_size(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(), server="channel_size = 2", client="connection_pool = 5")
    await until(lambda: "channel_size sessions are open already" in caplog.text)
    assert len(tunnel.server.relay.links) == 2
    await echo(await tunnel.user(), b"hello")
    assert len(tunnel.server.relay.links) == 2


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux", "wssmux"], indirect=True)
async def test_an_admitted_session_is_proven(any_net: Net) -> None:
    any_net.limits = replace(DEFAULT_LIMITS, unproven_sessions=0)
    tunnel = await any_net.tunnel(await any_net.echo(), client="connection_pool = 5")
    await until(lambda: len(tunnel.server.relay.links) == 5)
    await echo(await tunnel.user(), b"hello")
