"""Servers with several addresses: an answer leaves from the one that was asked, for users and for the tunnel."""

import pytest
from tests.support.datagrams import FLOWS, Nat, UdpNet, repeat
from tests.support.net import HOST, free_port, until

EVERYWHERE, OTHER = "0.0.0.0", "127.0.0.2"


@pytest.mark.parametrize("transport", ["udp", "tcp", "tcpmux", "ws"])
async def test_users_are_answered_from_the_address_they_asked(transport: str) -> None:
    async with UdpNet(transport) as net:
        bind_port, port, echo = free_port(), free_port(), net.udp_echo()
        server = await net.server(bind_port, [f"{EVERYWHERE}:{port}={echo.port}"], FLOWS[transport])
        await net.client(bind_port)
        user = net.udp()
        for host in (HOST, OTHER, HOST):
            user.send(host.encode(), (host, port))
            assert await user.receive_from() == (b"echo:" + host.encode(), (host, port))
        (listening,) = server.tunnel.ports.open.values()
        assert listening.udp.total == 2


async def test_the_client_may_dial_any_address_of_the_server() -> None:
    async with UdpNet("udp") as net:
        bind_port, port, echo = free_port(), free_port(), net.udp_echo()
        await net.server(bind_port, [f"{HOST}:{port}={echo.port}"], host=EVERYWHERE)
        await net.client(bind_port, host=OTHER)
        assert await net.udp(port).ask(b"hello") == b"echo:hello"


async def test_a_tunnel_announced_to_another_address_stays_there() -> None:
    async with UdpNet("udp") as net:
        net.patience = {"announce": 0.02}
        bind_port, port, echo = free_port(), free_port(), net.udp_echo()
        server = await net.server(bind_port, [f"{HOST}:{port}={echo.port}"], host=EVERYWHERE)
        control = net.middlebox(bind_port)
        nat = Nat(net, control.port, bind_port)
        await net.client(control.port)
        user = net.udp(port)
        assert await user.ask(b"before") == b"echo:before"
        nat.host = OTHER
        nat.rebind()
        await repeat(lambda: user.send(b"after"), lambda: user.heard)
        await until(lambda: server.tunnel.connected)
        (listening,) = server.tunnel.ports.open.values()
        assert listening.udp.total == 1
