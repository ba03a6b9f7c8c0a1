"""The tunnel before a reload of the client, which serves users until the new one is connected."""

import logging

import msgspec
import pytest
from tests.support.net import echo, free_port, until
from tests.support.tunnel import Net, Tunnel, change, turned_away

from backhaul.config import Secret
from backhaul.reports import Notice
from backhaul.transports.reasons import RENEWED

every_second = pytest.mark.parametrize("any_net", ["tcp", "wsmux"], indirect=True)


async def started(net: Net) -> tuple[Tunnel, list[Notice]]:
    """Return a tunnel, and what its server tells about the client from now on."""
    tunnel, told = await net.tunnel(await net.echo()), list[Notice]()
    tunnel.server.news.listener = told.append
    return tunnel, told


async def moved_first(tunnel: Tunnel, **keys: object) -> int:
    """Let the client look for the server at another port, in vain so far; return the port."""
    port = free_port()
    remote = msgspec.structs.replace(tunnel.client.config.remote_addr, port=port)
    await change(tunnel.client, remote_addr=remote, **keys)
    return port


async def test_a_reload_opens_the_new_tunnel_before_it_leaves_the_old_one(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tunnel, told = await started(any_net)
    user = await tunnel.user()
    await change(tunnel.client, keepalive_period=7)
    await until(lambda: tunnel.server.tunnel.opened == 2 and tunnel.client.tunnel.connected)
    await until(lambda: len(tunnel.client.state().servers) == 1)
    await echo(user, b"still here")
    await echo(await tunnel.user(), b"a new one")
    assert [(notice.event, notice.reason) for notice in told] == [("lost", RENEWED), ("connected", "")]
    assert tunnel.server.tunnel.opened == 2
    assert [record.levelname for record in caplog.records if RENEWED in record.getMessage()] == ["INFO"]
    assert "waiting for the client to reconnect" not in caplog.text


@every_second
async def test_users_are_served_until_the_server_is_reloaded_too(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel, told = await started(any_net)
    port = await moved_first(tunnel)
    await until(lambda: "connection refused" in caplog.text)
    await echo(await tunnel.user(), b"as before")
    assert tunnel.client.session().connected
    assert [(one.session.connected, one.replaced) for one in tunnel.client.state().servers] == [
        (False, False),
        (True, True),
    ]
    assert not told
    bind = msgspec.structs.replace(tunnel.server.config.bind_addr, port=port)
    await change(tunnel.server, bind_addr=bind)
    await until(lambda: tunnel.client.tunnel.connected and tunnel.server.tunnel.connected)
    await echo(await tunnel.user(), b"through the new tunnel")
    assert len(tunnel.client.state().servers) == 1


@every_second
async def test_the_former_tunnel_is_left_in_the_end(any_net: Net) -> None:
    any_net.timings = {"replacement": 0.0}
    tunnel, _ = await started(any_net)
    await moved_first(tunnel)
    await until(lambda: not tunnel.server.tunnel.connected)
    assert len(tunnel.client.state().servers) == 1


@every_second
async def test_another_reload_leaves_the_tunnel_from_before_the_first(any_net: Net) -> None:
    tunnel, _ = await started(any_net)
    await moved_first(tunnel)
    assert tunnel.client.session().connected
    await moved_first(tunnel)
    await until(lambda: not tunnel.server.tunnel.connected)


@every_second
@pytest.mark.parametrize("change_of", [{"accepted": (Secret("another"),)}, {"security": "required"}])
async def test_a_tunnel_that_is_protected_in_another_way_is_left_at_once(
    any_net: Net, change_of: dict[str, object]
) -> None:
    tunnel, _ = await started(any_net)
    await moved_first(tunnel, **change_of)
    assert not tunnel.client.session().connected


@every_second
async def test_a_narrower_list_of_targets_applies_to_the_former_tunnel(any_net: Net) -> None:
    tunnel, _ = await started(any_net)
    await moved_first(tunnel, allow_targets=("127.0.0.1:1",))
    await turned_away(tunnel)
    assert tunnel.client.session().connected
