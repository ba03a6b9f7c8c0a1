"""Ports for one protocol, ``51820/udp`` and ``443/tcp``, on every stream transport."""

import socket
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from tests.support.clients import config_of, table, token_of
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, echo, free_port, is_free, until
from tests.support.tunnel import Tunnel, change
from tests.support.udp_clients import insist

from backhaul.monitor.events import EventLog
from backhaul.overview import reader
from backhaul.selection import Selection


@pytest.fixture(params=["tcp", "tcpmux", "ws", "wssmux"])
async def udp_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide a net of each carrier."""
    async with UdpNet(request.param) as net:
        yield net


async def tunnel_of(net: UdpNet, protocol: str, lines: str = "") -> Tunnel:
    """Start both ends with a port for one protocol, whose target serves both."""
    target = await net.echo()
    net.udp_echo(port=target)
    port, bind_port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}/{protocol}={HOST}:{target}"], lines)
    tunnel = Tunnel(server, await net.client(bind_port), bind_port, [port], net)
    await until(lambda: tunnel.connected)
    return tunnel


async def both(net: UdpNet) -> Tunnel:
    """Start both ends with one port that has a target of its own for each protocol."""
    streams, datagrams = await net.echo(), net.udp_echo().port
    port, bind_port = free_port(), free_port()
    entries = [f"{HOST}:{port}/tcp={HOST}:{streams}", f"{HOST}:{port}/udp={HOST}:{datagrams}"]
    server = await net.server(bind_port, entries)
    tunnel = Tunnel(server, await net.client(bind_port), bind_port, [port], net)
    await until(lambda: tunnel.connected)
    return tunnel


async def test_a_port_for_udp_serves_udp_only(udp_net: UdpNet) -> None:
    tunnel = await tunnel_of(udp_net, "udp")
    await insist(udp_net.udp(tunnel.ports[0]))
    assert is_free(HOST, tunnel.ports[0], socket.SOCK_STREAM)
    (port,) = reader(tunnel.server.state, EventLog())().ports
    assert (port.name, port.udp_flows) == (f"{HOST}:{tunnel.ports[0]}/udp", 1)


async def test_a_port_for_tcp_serves_tcp_only(udp_net: UdpNet) -> None:
    tunnel = await tunnel_of(udp_net, "tcp", "accept_udp = true")
    await echo(await tunnel.user(), b"hello")
    assert is_free(HOST, tunnel.ports[0], socket.SOCK_DGRAM)


async def test_a_reload_changes_the_protocol_and_keeps_users_of_tcp(
    udp_net: UdpNet, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = await tunnel_of(udp_net, "tcp")
    (port,) = tunnel.ports
    user = await tunnel.user()
    await echo(user, b"hello")
    mapping = tunnel.server.config.ports[0]
    await change(tunnel.server, ports=(replace(mapping, protocol="udp"),))
    assert is_free(HOST, port, socket.SOCK_STREAM)
    await insist(udp_net.udp(port))
    await echo(user, b"still")
    await change(tunnel.server, ports=(replace(mapping, protocol=""),))
    assert is_free(HOST, port, socket.SOCK_DGRAM)
    assert not len(tunnel.server.relay.flows)
    await echo(await tunnel.user(), b"again")
    closed = [line.partition(";")[0] for line in caplog.messages if "ports: closed" in line]
    assert closed == ["ports: closed for TCP", "ports: closed for UDP, their flows have ended"]


async def test_flows_go_on_while_udp_moves_between_key_and_entry(
    udp_net: UdpNet, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = await tunnel_of(udp_net, "udp")
    by_entry = {"ports": tunnel.server.config.ports, "accept_udp": False}
    by_key = {"ports": tuple(replace(port, protocol="") for port in tunnel.server.config.ports), "accept_udp": True}
    user = udp_net.udp(tunnel.ports[0])
    for keys in (by_key, by_entry):
        await insist(user)
        await change(tunnel.server, **keys)
        assert len(tunnel.server.relay.flows) == 1
    await insist(user)
    assert "ports: closed for UDP" not in caplog.text


async def test_draining_and_resuming_keep_the_protocol(udp_net: UdpNet) -> None:
    tunnel = await tunnel_of(udp_net, "udp")
    await tunnel.server.drain()
    assert is_free(HOST, tunnel.ports[0], socket.SOCK_STREAM)
    await tunnel.server.resume()
    await insist(udp_net.udp(tunnel.ports[0]))
    assert is_free(HOST, tunnel.ports[0], socket.SOCK_STREAM)


async def test_each_protocol_of_a_port_has_its_own_target(udp_net: UdpNet) -> None:
    tunnel = await both(udp_net)
    await echo(await tunnel.user(), b"hello")
    await insist(udp_net.udp(tunnel.ports[0]))
    streams, datagrams = reader(tunnel.server.state, EventLog())().ports
    assert (streams.name, streams.open, streams.udp_flows) == (f"{HOST}:{tunnel.ports[0]}/tcp", 1, 0)
    assert (datagrams.name, datagrams.open, datagrams.udp_flows) == (f"{HOST}:{tunnel.ports[0]}/udp", 0, 1)


async def test_a_reload_gives_each_protocol_its_own_target_and_keeps_users_of_tcp(udp_net: UdpNet) -> None:
    tunnel = await both(udp_net)
    streams, datagrams = tunnel.server.config.ports
    user = await tunnel.user()
    await echo(user, b"hello")
    await insist(udp_net.udp(tunnel.ports[0]))
    for ports in ((replace(streams, protocol=""),), (datagrams, streams)):
        await change(tunnel.server, ports=ports, accept_udp=len(ports) == 1)
        await echo(user, b"still")
        await echo(await tunnel.user(), b"another")
    await insist(udp_net.udp(tunnel.ports[0]))
    assert not any(port.problem for port in reader(tunnel.server.state, EventLog())().ports)


async def test_two_clients_share_a_port_by_protocol(udp_net: UdpNet) -> None:
    port, bind_port, echo_port = free_port(), free_port(), await udp_net.echo()
    tables = [
        table("web", [f"{HOST}:{port}/tcp={HOST}:{echo_port}"]),
        table("game", [f"{HOST}:{port}/udp={HOST}:{udp_net.udp_echo().port}"]),
    ]
    server = await udp_net.run(config_of(udp_net.transport, bind_port, "".join(tables)))
    for name in ("web", "game"):
        await udp_net.client(bind_port, f'token = "{token_of(name)}"')
    await until(lambda: all(server.tunnels[name].state().session.connected for name in ("web", "game")))
    await echo(await udp_net.dial(port), b"hello")
    await insist(udp_net.udp(port))


@pytest.mark.parametrize(("protocol", "left"), [("tcp", (0, 1)), ("udp", (1, 0))])
async def test_users_of_one_protocol_are_closed(udp_net: UdpNet, protocol: str, left: tuple[int, int]) -> None:
    tunnel = await both(udp_net)
    await echo(await tunnel.user(), b"hello")
    await insist(udp_net.udp(tunnel.ports[0]))
    assert sum(tunnel.server.close_users(Selection(bind_port=tunnel.ports[0], protocol=protocol))) == 1

    def present() -> tuple[int, int]:
        streams, datagrams = reader(tunnel.server.state, EventLog())().ports
        return streams.open, datagrams.udp_flows

    await until(lambda: present() == left)
