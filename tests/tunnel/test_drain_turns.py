"""Requests to a client that meet: the last one counts."""

import asyncio

import pytest
from tests.support.net import until
from tests.support.tunnel import Net, change


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", range(1, 4))
async def test_a_client_that_resumes_in_the_middle_of_draining_is_connected(net: Net, count: int) -> None:
    tunnel = await net.tunnel()
    draining = asyncio.create_task(tunnel.client.drain())
    await turns(count)
    await tunnel.client.resume()
    await draining
    await until(lambda: tunnel.connected)


@pytest.mark.parametrize("count", range(4))
async def test_a_client_that_drains_in_the_middle_of_a_reload_stays_disconnected(net: Net, count: int) -> None:
    tunnel = await net.tunnel()
    reloading = asyncio.create_task(change(tunnel.client, keepalive_period=33))
    await turns(count)
    await tunnel.client.drain()
    await reloading
    assert not any(server.in_use for server in tunnel.client.state().servers)
