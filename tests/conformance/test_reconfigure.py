"""A reload of a running tunnel: the changes in place, the rebuilds, and the users who stay."""

import asyncio
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.datagrams import UdpNet
from tests.support.inside import at
from tests.support.names import Names
from tests.support.net import HOST, Peer, free_port, ready, until
from tests.support.tunnel import BUILT, Net, Tunnel, change
from tests.support.v072 import dial_control
from tests.support.web import knock, receive_answer

from backhaul.config import PortMapping, Secret
from backhaul.errors import BackhaulError
from backhaul.wire.signals import Signal


def mapping(port: int, target: int) -> PortMapping:
    return PortMapping(HOST, port, str(target))


async def in_flight(tunnel: Tunnel) -> Any:  # noqa: ANN401 - a peer
    """Return a user who is being served."""
    user = await tunnel.user()
    await user.send(b"before ")
    assert await user.receive(7) == b"before "
    return user


async def test_ports_come_and_go_and_no_other_port_notices(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    kept, more = tunnel.server.config.ports[0], free_port()
    user = await in_flight(tunnel)
    await change(tunnel.server, ports=(kept, mapping(more, await any_net.echo(greeting=b"hi"))))
    other = await any_net.dial(more)
    await other.send(b"?")
    assert await other.receive(3) == b"hi?"
    await change(tunnel.server, ports=(kept,))
    with pytest.raises(ConnectionRefusedError):
        await any_net.dial(more)
    await user.send(b"after")
    assert await user.receive(5) == b"after"
    assert tunnel.server.tunnel.opened == 1


async def test_a_port_that_was_in_use_is_tried_again(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    taken = any_net.listen()
    both = (tunnel.server.config.ports[0], mapping(taken.port, await any_net.echo(greeting=b"hi")))
    await change(tunnel.server, ports=both)
    assert f"port {HOST}:{taken.port}: address already in use; retried" in caplog.text
    taken.close()
    await change(tunnel.server)  # without a change, but a reload was requested
    other = await any_net.dial(taken.port)
    await other.send(b"?")
    assert await other.receive(3) == b"hi?"


async def test_a_port_with_another_target_stays_open(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    user = await in_flight(tunnel)
    await change(tunnel.server, ports=(mapping(tunnel.ports[0], await any_net.echo(greeting=b"other")),))
    other = await tunnel.user()
    await other.send(b"!")
    assert await other.receive(6) == b"other!"
    await user.send(b"the first")
    assert await user.receive(9) == b"the first"


async def test_another_token_makes_a_new_control_channel_and_users_stay(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    user = await in_flight(tunnel)
    for end in (tunnel.server, tunnel.client):
        await change(end, accepted=(Secret("another"),))
    await until(lambda: tunnel.connected and tunnel.server.tunnel.opened == 2)
    await user.send(b"after")
    assert await user.receive(5) == b"after"
    await in_flight(tunnel)


async def test_the_tunnel_moves_to_another_port(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    user, port = await in_flight(tunnel), free_port()
    await change(tunnel.server, bind_addr=msgspec.structs.replace(tunnel.server.config.bind_addr, port=port))
    await change(tunnel.client, remote_addr=msgspec.structs.replace(tunnel.client.config.remote_addr, port=port))
    await until(lambda: tunnel.connected and tunnel.server.tunnel.opened == 2)
    await user.send(b"after")
    assert await user.receive(5) == b"after"


@pytest.mark.parametrize("same_port", [True, False])
async def test_an_unavailable_address_changes_nothing(any_net: Net, same_port: bool) -> None:  # noqa: FBT001
    tunnel = await any_net.tunnel(await any_net.echo())
    user, before = await in_flight(tunnel), tunnel.server.config
    taken = before.bind_addr.port if same_port else any_net.listen().port
    host = "192.0.2.1" if same_port else HOST  # RFC 5737: no machine has it
    why = "cannot assign" if same_port else "address already in use"
    with pytest.raises(BackhaulError, match=f"can't listen on {host}:{taken}: {why}"):
        await change(tunnel.server, bind_addr=type(before.bind_addr)(host, taken))
    assert tunnel.server.config == before
    await until(lambda: tunnel.connected)
    assert tunnel.server.tunnel.opened == (2 if same_port else 1)
    await user.send(b"after")
    assert await user.receive(5) == b"after"
    await in_flight(tunnel)


async def test_fewer_users_may_wait(net: Net) -> None:
    port = free_port()
    server = await net.server(free_port(), [f"{HOST}:{port}=1"])
    await change(server, channel_size=1)
    first = await net.dial(port)
    with pytest.raises(ConnectionResetError):  # perhaps while it connects
        await (await net.dial(port)).receive_some()
    assert first.silent()


async def test_sessions_get_fewer_users_each(net: Net) -> None:
    net.transport = "wsmux"
    tunnel = await net.tunnel(await net.echo(), server="mux_con = 8", client="connection_pool = 1")
    await change(tunnel.server, mux_con=1)
    users = [await in_flight(tunnel) for _ in range(3)]
    await until(lambda: tunnel.client.tunnel.transport.shared == len(users))


async def test_a_pool_beyond_the_share_of_descriptors_is_filled(net: Net) -> None:
    """It is the administrator's choice, also after a reload."""
    bind_port = free_port()
    await net.server(bind_port)
    client = await net.client(bind_port, connection_pool=2, descriptors=8)
    await change(client, connection_pool=6)
    await until(lambda: client.tunnel.transport.idle == 6)


@pytest.mark.parametrize("end", ["server", "client"])
async def test_fewer_flows_and_shorter_ones(net: Net, end: str) -> None:
    async with UdpNet("tcp") as udp:
        tunnel = await udp.flows(udp.udp_echo().port)
        for user in (udp.udp(tunnel.ports[0]) for _ in range(3)):
            assert await user.ask(b"x") == b"echo:x"
        changed = tunnel.server if end == "server" else tunnel.client
        await change(changed, udp_max_flows=1)
        assert len(changed.relay.flows) == 1
        await change(changed, udp_timeout=0.01)
        await until(lambda: not len(changed.relay.flows))


async def test_a_shorter_heartbeat_takes_effect_at_once(net: Net) -> None:
    bind_port = free_port()
    server = await net.server(bind_port, "", heartbeat=3600)
    control = await dial_control(net, bind_port)
    await until(lambda: server.tunnel.connected)
    await change(server, heartbeat=0.02)
    assert await control.receive(3) == bytes([Signal.HEARTBEAT]) * 3


async def test_later_users_have_the_new_options(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    for seconds in (7, 8):
        await change(tunnel.server, keepalive_period=seconds)
        await until(lambda: tunnel.connected)
        user = await in_flight(tunnel)
        options = [
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            for sock in at(tunnel.ports[0])
            if sock.getpeername() == user.address
        ]
        assert options == [seconds]


async def test_udp_on_the_ports_is_switched_on_and_off(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo())
    user = await in_flight(tunnel)
    address = (HOST, tunnel.ports[0])
    for accept_udp in (True, False):
        await change(tunnel.server, accept_udp=accept_udp)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            if accept_udp:
                with pytest.raises(OSError, match="in use"):
                    sock.bind(address)
            else:
                sock.bind(address)
    await user.send(b"after")
    assert await user.receive(5) == b"after"
    assert tunnel.server.tunnel.opened == 1


async def test_another_token_costs_users_of_transport_udp_no_more_than_a_datagram() -> None:
    async with UdpNet("udp") as net:
        tunnel = await net.flows(net.udp_echo().port)
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"before") == b"echo:before"
        for end in (tunnel.server, tunnel.client):
            await change(end, accepted=(Secret("another"),))
        await until(lambda: tunnel.connected and tunnel.server.tunnel.opened == 2)
        assert await user.ask(b"after") == b"echo:after"


@pytest.mark.parametrize("end", ["server", "client"])
async def test_another_half_close_timeout_applies_to_users_in_flight(net: Net, end: str) -> None:
    net.patience = {"sweep": 0.02}
    listener = net.listen()
    tunnel = await net.tunnel(listener.port)
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    user.shut_write()
    assert await target.receive_all() == b""
    await change(tunnel.server if end == "server" else tunnel.client, half_close_timeout=0.05)
    assert not await user.closed()


def client_hello() -> bytes:
    """Return the first message of a TLS client."""
    said = ssl.MemoryBIO()
    end = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        end.do_handshake()
    return said.read()


@pytest.mark.parametrize("transport", [*BUILT, "udp"])
async def test_a_failed_move_leaves_a_gate_that_serves_all_connections(
    net: Net, transport: str, tmp_path: Path
) -> None:
    """Others wait for their turn meanwhile."""
    net.transport, net.limits = transport, replace(net.limits, handshake_share=0.02)
    (tmp_path / "page.txt").write_text("a page")
    decoy = f'decoy = "{tmp_path}"' if "ws" in transport else ""
    server = await net.server(free_port(), lines=decoy)
    address = server.config.bind_addr
    strangers = [net.keep(Peer(socket.create_connection((HOST, address.port)))) for _ in range(8)]
    for stranger in strangers:
        stranger.sock.send(client_hello())
    await ready(stranger.sock for stranger in strangers)
    with pytest.raises(BackhaulError, match="cannot assign"):
        await change(server, bind_addr=type(address)("192.0.2.1", address.port))  # RFC 5737: no machine has it
    if transport in {"ws", "wsmux"}:
        visitor = await net.dial(address.port)
        await visitor.send(knock("/page.txt"))
        assert (await receive_answer(visitor)).endswith(b"a page")
    client = await net.client(address.port)
    await until(lambda: server.tunnel.connected and client.tunnel.connected)


async def test_a_user_whose_target_is_being_dialled_stays(any_net: Net) -> None:
    """It stays even when the idle connections of the old control channel are closed."""
    any_net.timings = {"leave": 0}
    names, bind_port, port = Names(), free_port(), free_port()
    echo = await any_net.echo()
    await any_net.server(bind_port, [f"{HOST}:{port}=slow.example:{echo}"])
    client = await any_net.client(bind_port, names=names)
    await until(lambda: client.tunnel.connected)
    user = await any_net.dial(port)
    await user.send(b"hello")
    await until(lambda: names.asked["slow.example"])
    await change(client, keepalive_period=client.config.keepalive_period + 1)
    await until(lambda: client.tunnel.connected)
    names.known["slow.example"] = HOST
    names.let_go()
    assert await user.receive(5) == b"hello"
