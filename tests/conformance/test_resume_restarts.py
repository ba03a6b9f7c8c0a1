"""Users whose server or client has started again: its former sessions are gone, so nobody waits for them."""

import pytest
from msgspec.structs import replace
from tests.support.middlebox import Path
from tests.support.net import echo, free_port, until, until_reset
from tests.support.torn import Torn, sessions
from tests.support.tunnel import Net, change

one_mux = pytest.mark.parametrize("any_net", ["wsmux"], indirect=True)


async def lose_control(torn: Torn) -> list[Path]:
    """Cut the control channel, and silence the connections of sessions; return these."""
    control, *kept = torn.middlebox.paths
    torn.middlebox.paths.clear()
    for path in kept:
        path.swallow()
    await control.cut()
    return kept


@one_mux
async def test_a_server_that_started_again_does_not_let_users_wait(any_net: Net) -> None:
    listener = any_net.listen()
    torn = await Torn.start(any_net, target=listener.port)
    await any_net.dial(torn.port)
    target = await listener.accept()
    await torn.cut(control=True)
    await torn.server.end()
    await any_net.run(torn.server.config)
    await until_reset(target)
    assert not torn.resumed.resumes


@one_mux
@pytest.mark.parametrize("transport", ["tcp", "ws", "tcpmux"])
async def test_a_server_that_started_again_with_another_transport_does_not_let_users_wait(
    any_net: Net, transport: str
) -> None:
    listener = any_net.listen()
    torn = await Torn.start(any_net, target=listener.port)
    await any_net.dial(torn.port)
    target = await listener.accept()
    await torn.cut(control=True)
    await torn.server.end()
    await any_net.run(replace(torn.server.config, transport=transport))
    await change(torn.client, transport=transport)
    await until_reset(target)
    await until(lambda: not torn.resumed.parked)


@one_mux
async def test_a_server_that_started_again_and_refuses_the_client_does_not_let_users_wait(any_net: Net) -> None:
    torn, _, target = await Torn.with_user(any_net)
    await torn.cut(control=True)
    await torn.server.end()
    await any_net.run(replace(torn.server.config, transport="ws"))
    await until_reset(target)


@one_mux
async def test_a_server_that_refuses_the_client_after_a_reload_keeps_its_users(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    await change(torn.server, transport="ws")
    await torn.cut(control=True)
    await until(lambda: torn.client.tunnel.standing.failures >= 2)
    await change(torn.server, transport="wsmux")
    await echo(user, b"hello")


@one_mux
@pytest.mark.parametrize("transport", ["tcp", "ws", "tcpmux"])
async def test_a_session_that_is_lost_after_such_a_restart_does_not_let_users_wait(
    any_net: Net, transport: str
) -> None:
    torn, _, target = await Torn.with_user(any_net)
    kept = await lose_control(torn)
    await torn.server.end()
    await any_net.run(replace(torn.server.config, transport=transport))
    await change(torn.client, transport=transport)
    await until(lambda: torn.client.session().connected)
    for path in kept:
        await path.cut()
    await until_reset(target)


async def starts_elsewhere(torn: Torn, transport: str) -> None:
    """Start the server again, at another address and with another transport, and reload the client."""
    port = free_port()
    await torn.server.end()
    bind, remote = torn.server.config.bind_addr, torn.client.config.remote_addr
    await torn.net.run(replace(torn.server.config, transport=transport, bind_addr=replace(bind, port=port)))
    await change(torn.client, transport=transport, remote_addr=replace(remote, port=port))


@one_mux
@pytest.mark.parametrize("transport", ["tcp", "ws", "tcpmux", "wsmux"])
async def test_a_server_that_started_again_elsewhere_does_not_let_users_wait(any_net: Net, transport: str) -> None:
    torn, _, target = await Torn.with_user(any_net)
    await torn.cut(control=True)
    await starts_elsewhere(torn, transport)
    await until_reset(target)


@one_mux
@pytest.mark.parametrize("transport", ["tcp", "ws", "tcpmux", "wsmux"])
async def test_a_session_that_is_lost_after_a_restart_elsewhere_does_not_let_users_wait(
    any_net: Net, transport: str
) -> None:
    torn, _, target = await Torn.with_user(any_net)
    kept = await lose_control(torn)
    await starts_elsewhere(torn, transport)
    await until(lambda: torn.client.session().connected)
    for path in kept:
        await path.cut()
    await until_reset(target)


async def kill_client(torn: Torn) -> None:
    """End the client as if its process had been killed, without a goodbye."""
    for link in sessions(torn.client):
        link.kept = False
    torn.client.tunnel.close()
    await torn.cut(control=True)
    await until(lambda: torn.server.state().relay.resumption.parked)


@one_mux
@pytest.mark.parametrize("transport", ["tcp", "ws", "tcpmux"])
async def test_a_client_that_started_again_with_another_transport_does_not_let_users_wait(
    any_net: Net, transport: str
) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    await kill_client(torn)
    await change(torn.server, transport=transport)
    await any_net.connect(replace(torn.client.config, transport=transport))
    await until_reset(user)


@one_mux
async def test_a_client_that_started_again_does_not_let_users_wait(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    await kill_client(torn)
    await any_net.client(torn.middlebox.port)
    await until_reset(user)
