"""Users who are silent, or connected, for too long."""

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import Peer, echo, until, until_reset
from tests.support.tunnel import Net, change

from backhaul.config.limits import Limits, LimitTables
from backhaul.reports import UserEnd

NEVER = LimitTables(Limits(idle_timeout=3600, max_lifetime=3600))


def limit(port: int, limits: Limits) -> LimitTables:
    """Return limits of a port, and long ones of all ports."""
    return LimitTables(NEVER.everywhere, ((port, limits),))


async def talk(user: Peer) -> None:
    """Send and receive until the end."""
    while True:
        await echo(user, b"busy")


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_an_idle_user_is_reset(transport: str) -> None:
    async with Net(transport) as net:
        net.timings = {"expiry": 0.01}
        tunnel, ends = await net.tunnel(await net.echo()), list[UserEnd]()
        tunnel.server.report_to(ends.append)
        user = await tunnel.user()
        await echo(user, b"hello")
        await change(tunnel.server, limits=limit(tunnel.ports[0], Limits(idle_timeout=1)))
        await until_reset(user)
        assert [end.ending for end in ends] == ["limit"]
        await until(lambda: not tunnel.client.relay.busy)


async def test_bytes_do_not_prolong_a_life(net: Net) -> None:
    net.timings = {"expiry": 0.01}
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    await change(tunnel.server, limits=limit(tunnel.ports[0], Limits(max_lifetime=1)))
    with pytest.raises(ConnectionResetError):
        await talk(user)


async def test_bytes_keep_a_user_from_being_idle(net: Net) -> None:
    net.timings = {"expiry": 0.01}
    tunnel = await net.tunnel(await net.echo())
    idle, busy = await tunnel.user(), await tunnel.user()
    await change(tunnel.server, limits=limit(tunnel.ports[0], Limits(idle_timeout=1)))
    while idle.silent():
        await echo(busy, b"busy")
    await echo(busy, b"still here")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_flow_ends_with_its_lifetime(transport: str) -> None:
    async with UdpNet(transport) as net:
        net.timings = {"expiry": 0.01}
        tunnel, ends = await net.flows(net.udp_echo().port), list[UserEnd]()
        tunnel.server.report_to(ends.append)
        user = net.udp(to=tunnel.ports[0])
        await user.ask(b"hello")
        await change(tunnel.server, limits=limit(tunnel.ports[0], Limits(max_lifetime=1)))
        await until(lambda: ends)
        assert [end.ending for end in ends] == ["limit"]
