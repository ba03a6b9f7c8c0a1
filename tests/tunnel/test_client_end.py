"""The end of a client at once, as after a second signal."""

import asyncio

import pytest
from tests.support.net import until
from tests.support.tunnel import Net


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "udp", "wss", "wssmux"])
@pytest.mark.parametrize("begun", [False, True], ids=["without a stop", "in a stop"])
async def test_it_leaves_the_server(net: Net, transport: str, *, begun: bool) -> None:
    net.transport = transport
    tunnel = await net.tunnel()
    stopping = asyncio.create_task(tunnel.client.stop())
    if begun:
        await asyncio.sleep(0)  # the first step of the stop waits for a task
    stopping.cancel()
    await tunnel.client.end()
    await until(lambda: not tunnel.server.tunnel.connected)
