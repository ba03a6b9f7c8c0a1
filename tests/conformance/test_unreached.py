"""Tunnel connections that seem open to the client, and never arrive at the server."""

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net
from tests.support.udp_line import through_a_nat


@pytest.mark.parametrize("any_net", ["tcp", "tcpmux"], indirect=True)
async def test_the_client_is_not_connected_until_one_arrives(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    any_net.timings = {"first_proof": 0.2}
    bind_port, port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    middlebox = any_net.middlebox(bind_port)
    middlebox.alive = 1
    client = await any_net.client(middlebox.port)
    await until(lambda: "no tunnel connection reaches the server" in client.tunnel.problem)
    assert not client.tunnel.connected
    assert not server.tunnel.connected
    assert "no user can be carried: no tunnel connection reaches the server" in caplog.text
    middlebox.alive = 1 << 16
    for path in middlebox.paths[1:]:
        await path.cut()
    await until(lambda: client.tunnel.connected and server.tunnel.connected)
    await echo(await any_net.dial(port), b"hello")


@pytest.mark.parametrize("any_net", ["udp"], indirect=True)
async def test_a_client_whose_datagrams_are_lost_is_not_connected(any_net: Net) -> None:
    any_net.timings = {"first_proof": 0.2}
    bind_port = free_port()
    await any_net.server(bind_port)
    middlebox = any_net.middlebox(bind_port)  # which passes TCP only
    client = await any_net.client(middlebox.port)
    await until(lambda: "on transport udp, UDP to the same port" in client.tunnel.problem)
    assert not client.tunnel.connected


async def test_a_client_whose_datagrams_cease_to_arrive_is_not_connected_meanwhile() -> None:
    async with UdpNet("udp") as net:
        net.patience = {"announce": 0.02, "unannounced": 0.2}
        scene = await through_a_nat(net)
        server, client = scene.tunnel.server.tunnel, scene.tunnel.client.tunnel
        assert server.connected
        scene.nat.upwards = lambda _: 0
        await until(lambda: not (client.connected or server.connected))
        assert "no datagram of the tunnels arrives any more" in server.problem
        assert "no tunnel connection reaches the server" in client.problem
        scene.nat.upwards = lambda _: 1
        await until(lambda: client.connected and server.connected)
        assert await scene.user.ask(b"hello") == b"echo:hello"
