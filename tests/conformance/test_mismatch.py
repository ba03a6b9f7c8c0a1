"""Ends with different transports: neither reports that it is connected, and both name the mismatch."""

import asyncio

import pytest
from tests.support.doors import DoorOwner, door_settings
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.tunnel import LEGACY, Net
from tests.support.v072 import HANDSHAKE, dial_control
from tests.support.web import BINARY, frame, upgraded

from backhaul.client import Client
from backhaul.net.pollers import make_poller
from backhaul.net.resolver import Resolver, look_up
from backhaul.server import Server
from backhaul.transports.doors.raw import RawDoor

RAW = ("tcp", "tcpmux", "udp")
PAIRS = [(server, client) for server in RAW for client in RAW if server != client]
PAIRS += [("ws", "wsmux"), ("wsmux", "ws"), ("wss", "wssmux"), ("wssmux", "wss")]
NOP = b"\x01\x03\x00\x00\x00\x00\x00\x00"


async def other_client(net: Net, server: Server, transport: str) -> Client:
    net.transport = transport
    return await net.client(server.config.bind_addr.port)


@pytest.mark.parametrize(("server_runs", "client_runs"), PAIRS)
async def test_both_ends_name_both_transports(
    server_runs: str, client_runs: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(server_runs) as net:
        server = await net.server(free_port())
        client = await other_client(net, server, client_runs)
        reason = f"the client runs {client_runs}, this server {server_runs}; set the same transport on both ends"
        lines = f"no user can be carried: {reason}", f"refused by the server: {reason}"
        await until(lambda: all(line in caplog.text for line in lines))
        assert server.tunnel.problem == reason
        assert not server.tunnel.connected
        assert not client.tunnel.connected


@pytest.mark.parametrize("client_runs", ["tcp", "udp"])
async def test_a_client_misses_the_first_signal_of_its_transport(client_runs: str, net: Net) -> None:
    listener = net.listen()
    poller, resolver = make_poller(), Resolver(lookup=look_up)
    door, owner = RawDoor(poller, door_settings(listener.port, greeting_grace=0), resolver, client_runs), DoorOwner()
    door.start(owner)
    connecting = asyncio.ensure_future(door.connect())
    server = await listener.accept()
    assert await server.receive(len(HANDSHAKE)) == HANDSHAKE
    await server.send(HANDSHAKE)  # like a server of tcpmux, and nothing follows
    await connecting
    await until(lambda: owner.lost)
    reason = f"the server runs tcpmux, this client {client_runs}; set the same transport on both ends"
    assert owner.fit.told == owner.lost == [reason]
    door.disconnect()
    assert await server.closed()
    resolver.close()
    poller.close()


@pytest.mark.parametrize("lines", [("mux_version = 2", ""), ("", "mux_version = 2")])
@pytest.mark.parametrize("transport", ["tcpmux", "wsmux"])
async def test_protected_sessions_do_not_depend_on_the_version_of_smux(transport: str, lines: tuple[str, str]) -> None:
    async with Net(transport) as net:
        tunnel = await net.tunnel(await net.echo(), server=lines[0], client=lines[1])
        await echo(await tunnel.user(), b"hello")


@pytest.mark.parametrize("transport", ["tcpmux", "wsmux"])
async def test_different_versions_of_smux_without_a_handshake(transport: str) -> None:
    async with Net(transport) as net:
        net.timings = {"restart": 0}  # at the end nobody waits for another client
        port = free_port()
        server = await net.server(free_port(), [f"{HOST}:{port}=1"], "mux_version = 2")
        client = await net.client(server.config.bind_addr.port, LEGACY)
        await until(lambda: client.tunnel.transport.opening or client.tunnel.transport.idle)
        await net.dial(port)
        await until(lambda: any("mux_version" in end.tunnel.problem for end in (server, client)))


async def test_the_right_client_ends_the_mismatch() -> None:
    async with Net("tcp") as net:
        server = await net.server(free_port())
        wrong = await other_client(net, server, "tcpmux")
        await until(lambda: server.tunnel.problem)
        await net.stop(wrong)
        right = await other_client(net, server, "tcp")
        await until(lambda: server.tunnel.connected and right.tunnel.connected)
        assert not server.tunnel.problem


async def silent_tunnel(net: Net, port: int, transport: str) -> Peer:
    """Open a tunnel connection as v0.7.2's client does, with its control channel."""
    if transport.startswith("ws"):
        await upgraded(net, port)
        return await upgraded(net, port, "/tunnel/1")
    if transport == "tcpmux":
        control = await net.dial(port)
        await control.send(HANDSHAKE)
        assert await control.receive(len(HANDSHAKE)) == HANDSHAKE
    else:
        await dial_control(net, port)
    return await net.dial(port)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_sessions_of_a_v072_client_are_detected_by_their_first_sign_of_life(transport: str) -> None:
    async with Net(transport) as net:
        server = await net.server(free_port())
        carrier = await silent_tunnel(net, server.config.bind_addr.port, transport)
        await until(lambda: server.tunnel.connected and server.tunnel.transport.idle)
        await carrier.send(NOP)
        await until(lambda: "mux" in server.tunnel.problem)
        assert not server.tunnel.connected


@pytest.mark.parametrize("transport", ["tcpmux", "wsmux"])
async def test_a_v072_client_without_sessions_is_detected_by_the_first_user(transport: str) -> None:
    async with Net(transport) as net:
        port = free_port()
        server = await net.server(free_port(), [f"{HOST}:{port}=1"])
        carrier = await silent_tunnel(net, server.config.bind_addr.port, transport)
        await until(lambda: server.tunnel.transport.idle)
        await net.dial(port)
        await carrier.receive(1)  # v0.7.2 ignores it
        carrier.close()
        await until(lambda: "no sessions" in server.tunnel.problem)
        assert server.tunnel.problem.endswith("set the same transport and mux_version on both ends")


async def test_a_neighbour_cannot_take_a_proved_tunnel_down(caplog: pytest.LogCaptureFixture) -> None:
    async with Net("tcp") as net:
        tunnel = await net.tunnel(await net.echo())
        await until(lambda: tunnel.server.tunnel.transport.idle)
        neighbour = await net.dial(tunnel.bind_port)
        await neighbour.send(NOP)
        assert await neighbour.closed()
        user = await tunnel.user()
        await user.send(b"still here")
        assert await user.receive(10) == b"still here"
        assert tunnel.connected
        assert "no user can be carried" not in caplog.text


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_an_answer_of_a_target_clears_the_mismatch_of_a_neighbour(transport: str) -> None:
    async with Net(transport) as net:
        up = free_port()
        server = await net.server(free_port(), [f"{HOST}:{up}=1"])
        port = server.config.bind_addr.port
        carrier = await silent_tunnel(net, port, transport)
        neighbour = await net.dial(port) if transport == "tcp" else await upgraded(net, port, "/tunnel/2")
        await until(lambda: server.tunnel.transport.idle == 2)
        await neighbour.send(NOP)
        await until(lambda: server.tunnel.problem)
        user = await net.dial(up)
        assert await carrier.receive(1)
        answer = b"answer" if transport == "tcp" else frame(BINARY, b"answer", masked=True)
        await carrier.send(answer)
        assert await user.receive(6) == b"answer"
        carrier.close()
        await until(lambda: server.tunnel.connected)
        assert not server.tunnel.problem
