"""The first tunnels of transport udp, which wait for no later look at the pool."""

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import until
from tests.support.old_udp import idle
from tests.support.tunnel import LEGACY

NEVER = 3600.0  # seconds


@pytest.mark.parametrize("lines", ["", LEGACY], ids=["protected", "v0.7.2"])
async def test_the_first_tunnels_are_open_soon(lines: str) -> None:
    async with UdpNet("udp") as net:
        net.timings = {"look": NEVER}
        tunnel = await net.flows(net.udp_echo().port, server=lines, client=f"connection_pool = 3\n{lines}")
        await until(lambda: idle(tunnel.server) == 3)
