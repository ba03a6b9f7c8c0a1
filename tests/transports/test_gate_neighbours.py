"""Connections from the address of a client with a protected session, whose own ones prove where they come from."""

import asyncio
import os
import socket

import pytest
from tests.support.middlebox import Line
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.protected_client import ProtectedClient, ask, framed, target_on
from tests.support.public import TARGET, Public
from tests.support.tunnel import Net

from backhaul.security import kinds
from backhaul.wire.frames import Sealed

NEIGHBOURS = 40
FLOOD = 200  # connections that wait to be accepted


async def test_a_neighbour_gets_no_user_of_a_client_that_has_not_confirmed_yet(public: Public) -> None:
    for _ in range(NEIGHBOURS):
        await public.tunnel_connection()
    client = await ProtectedClient.dial(public.net, public.port)
    neighbours = [await public.tunnel_connection() for _ in range(NEIGHBOURS)]
    await client.confirm()
    carriers = [await client.carrier() for _ in range(3)]
    await until(lambda: public.server.tunnel.transport.idle >= 3)
    assert public.server.tunnel.transport.idle == 3
    for carrier, opener in carriers[::-1]:
        await public.user()
        assert await target_on(carrier, opener) == (kinds.TCP, TARGET.encode(), b"")
    assert all(neighbour.silent() for neighbour in neighbours)


async def test_all_users_reach_a_distant_client_with_a_nearer_neighbour(net: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"])
    await net.client(net.middlebox(bind_port, Line(delay=0.04)).port)
    await until(lambda: server.tunnel.connected)
    for _ in range(NEIGHBOURS):
        await net.dial(bind_port)
    users = [await net.dial(port) for _ in range(NEIGHBOURS)]
    await asyncio.gather(*(echo(user, b"hello") for user in users))


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_users_come_before_the_end_of_a_flood_of_wrong_handshakes(transport: str) -> None:
    async with Net(transport) as net:
        tunnel = await net.tunnel(await net.echo())
        user = await tunnel.user()
        await echo(user, b"hello")
        strangers = [stranger(net, tunnel.bind_port) for _ in range(FLOOD)]
        await echo(user, b"hello")
        assert strangers[-1].silent()
        assert await strangers[-1].receive_some() == b"" or transport == "ws"


def stranger(net: Net, port: int) -> Peer:
    """Send a wrong handshake, while the server, which shares the thread, can't answer it."""
    guess = os.urandom(300)
    peer = socket.create_connection((HOST, port))
    peer.sendall(ask(guess)[0] if net.transport == "ws" else framed(Sealed.HANDSHAKE, guess))
    return net.keep(Peer(peer))
