"""Connections from the client's address while it is not known whether the client shows tickets."""

import asyncio

import pytest
from tests.support.middlebox import Line
from tests.support.net import HOST, Peer, echo, free_port, until
from tests.support.public import Public
from tests.support.tunnel import Net
from tests.support.v072 import HANDSHAKE, RTT, say_hello

from backhaul.wire.control import hello
from backhaul.wire.frames import encode
from backhaul.wire.signals import TICKET_SIZE, Signal

NEIGHBOURS = 40


async def begin(public: Public) -> Peer:
    """Open a control channel whose client has not answered the RTT signal."""
    control = await public.tunnel_connection()
    await control.send(HANDSHAKE)
    assert await control.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
    return control


async def accepted(public: Public) -> None:
    """Wait until the server has accepted all connections that were opened before."""
    other = await public.tunnel_connection()
    await other.send(encode(Signal.TICKET, bytes(TICKET_SIZE)))
    assert await other.closed()


async def silent_ones(public: Public, count: int) -> list[Peer]:
    """Open silent connections from the client's address."""
    peers = [await public.tunnel_connection() for _ in range(count)]
    await accepted(public)
    return peers


async def use(public: Public, carriers: list[Peer]) -> None:
    """Assert that users arrive on these connections, in this order."""
    for carrier in carriers:
        user = await public.user()
        await user.send(b"hello")
        assert await (await public.addressed(carrier)).receive(5) == b"hello"


async def test_a_neighbour_gets_no_user_of_a_client_whose_hello_is_slow(public: Public) -> None:
    control = await begin(public)
    await silent_ones(public, NEIGHBOURS)
    assert public.server.tunnel.transport.idle == 0
    await control.send(RTT + hello("tcp"))
    ticket = (await control.receive(len(hello("tcp")) + TICKET_SIZE))[len(hello("tcp")) :]
    carriers = [await public.tunnel_connection() for _ in range(3)]
    for carrier in carriers:
        await carrier.send(encode(Signal.TICKET, ticket))
    await until(lambda: public.server.tunnel.transport.idle >= 3)
    assert public.server.tunnel.transport.idle == 3
    await use(public, carriers[::-1])


async def test_connections_of_v072_are_admitted_after_the_wait_for_a_hello(public: Public) -> None:
    control = await begin(public)
    carriers = await silent_ones(public, 3)
    await control.send(RTT)
    await until(lambda: public.server.tunnel.transport.idle == 3)
    await use(public, carriers)


async def test_a_waiting_user_gets_a_held_connection(public: Public) -> None:
    control = await begin(public)
    user = await public.user()
    await user.send(b"hello")
    (carrier,) = await silent_ones(public, 1)
    await control.send(RTT)
    assert await (await public.addressed(carrier)).receive(5) == b"hello"


@pytest.mark.limits(hello_grace=0.0)
async def test_a_late_hello_closes_connections_admitted_by_address(public: Public) -> None:
    control = await begin(public)
    await control.send(RTT)
    carriers = [await public.tunnel_connection() for _ in range(3)]
    await until(lambda: public.server.tunnel.transport.idle == 3)
    ticket = await say_hello(control)
    for carrier in carriers:
        assert await carrier.closed()
    carrier = await public.tunnel_connection()
    await carrier.send(encode(Signal.TICKET, ticket))
    await use(public, [carrier])


async def test_a_handshake_on_a_held_connection_takes_over(public: Public) -> None:
    first = await begin(public)
    (second,) = await silent_ones(public, 1)
    await second.send(HANDSHAKE)
    assert await second.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
    assert await first.closed()


@pytest.mark.limits(hello_grace=1e9)
async def test_held_connections_are_not_admitted_after_the_client_has_left(public: Public) -> None:
    control = await begin(public)
    await control.send(RTT)
    held = await silent_ones(public, 1)
    control.close()
    await until(lambda: not public.server.tunnel.connected)
    await public.client()
    carrier = await public.tunnel_connection()
    await accepted(public)
    assert public.server.tunnel.transport.idle == 0
    assert held[0].silent()
    assert carrier.silent()


async def test_all_users_reach_a_distant_client_with_a_nearer_neighbour(net: Net) -> None:
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"])
    await net.client(net.middlebox(bind_port, Line(delay=0.04)).port)
    await until(lambda: server.tunnel.connected)
    for _ in range(NEIGHBOURS):
        await net.dial(bind_port)
    users = [await net.dial(port) for _ in range(NEIGHBOURS)]
    await asyncio.gather(*(echo(user, b"hello") for user in users))
