"""Transport udp with a v0.7.2 client behind a NAT that forgets the addresses of silent tunnels."""

from dataclasses import replace

from tests.support.datagrams import UdpNet
from tests.support.net import free_port, until
from tests.support.old_udp import PING, TARGET, OldClient, behind_pings, idle, idle_tunnels, our_server


async def test_udp_a_flow_leaves_tunnels_that_a_nat_may_have_forgotten() -> None:
    """Each of them is tried, the newest first; one that was just announced is the last."""
    async with UdpNet("udp") as net:
        net.patience = {"forgotten": -1.0, "forgotten_reply": -1.0}  # seconds; the clock may not advance
        server, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        tunnels = await idle_tunnels(net, bind_port, 2)
        user.send(b"one")
        assert [await behind_pings(tunnels[1]) for _ in range(2)] == [TARGET, b"one"]
        tunnels[1].send(b"answer")
        assert await user.receive() == b"answer"
        user.send(b"two")
        assert await behind_pings(tunnels[1]) == b"two"
        user.send(b"three")
        assert [await behind_pings(tunnels[0]) for _ in range(2)] == [TARGET, b"three"]
        (fresh,) = await idle_tunnels(net, bind_port, 1)
        server.relay.patience = replace(server.relay.patience, forgotten=3600.0)
        user.send(b"four")
        assert [await behind_pings(fresh) for _ in range(2)] == [TARGET, b"four"]
        net.udp(bind_port).send(b"s3cret")
        await until(lambda: idle(server) == 1)
        user.send(b"five")
        assert await behind_pings(fresh) == b"five"


async def test_udp_flows_leave_the_tunnels_of_a_v072_client_that_connects_again() -> None:
    """It closes them when it loses its control channel."""
    async with UdpNet("udp") as net:
        net.patience = {"replaced": -1.0}  # seconds; the clock may not advance
        _, bind_port, user = await our_server(net)
        await OldClient.connect(net, bind_port)
        (before,) = await idle_tunnels(net, bind_port, 1)
        user.send(b"one")
        assert [await behind_pings(before) for _ in range(2)] == [TARGET, b"one"]
        before.send(b"answer")
        assert await user.receive() == b"answer"
        await OldClient.connect(net, bind_port)
        (after,) = await idle_tunnels(net, bind_port, 1)
        user.send(b"two")
        assert [await behind_pings(after) for _ in range(2)] == [TARGET, b"two"]


async def test_udp_idle_tunnels_of_a_v072_client_are_pinged_between_heartbeats() -> None:
    async with UdpNet("udp") as net:
        net.patience = {"ping": 0.02}
        bind_port = free_port()
        await net.server(bind_port, ["7100"], heartbeat=3600)
        await OldClient.connect(net, bind_port)
        tunnel = net.udp(bind_port)
        tunnel.send(b"s3cret")
        assert [await tunnel.receive() for _ in range(3)] == [PING] * 3
