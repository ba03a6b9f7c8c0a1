"""The list of users in flight, and the closing of some of them, over every transport."""

import re
import threading
import time
from collections.abc import Callable

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, Peer, free_port, until, until_reset
from tests.support.public import TARGET, Public
from tests.support.tunnel import Net, Tunnel

from backhaul.client import Client
from backhaul.net.resolver import Found, look_up
from backhaul.overview import connections
from backhaul.selection import Selection
from backhaul.server import Server
from backhaul.state import UserState


def only(end: Server | Client) -> UserState:
    (user,) = end.users()
    return user


def chosen(end: Server | Client, selection: Selection) -> int:
    return sum(end.close_users(selection))


async def used(net: Net) -> tuple[Tunnel, Peer]:
    """Return a tunnel and a user who has sent 7 bytes and received them."""
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    await user.send(b"request")
    assert await user.receive(7) == b"request"
    return tunnel, user


async def test_both_ends_list_a_user(any_net: Net) -> None:
    tunnel, user = await used(any_net)
    (port,) = tunnel.server.tunnel.ports.open.values()
    served, arrived = only(tunnel.server), only(tunnel.client)
    assert (served.host, served.port) == user.address
    assert (served.bind_host, served.bind_port, served.client) == (HOST, tunnel.ports[0], HOST)
    for state in (served, arrived):
        assert (state.target, state.transport, state.phase) == (port.mapping.target, any_net.transport, "open")
        assert (state.received, state.sent, state.datagrams) == (7, 7, False)
        assert bool(state.stream) == any_net.transport.endswith("mux")


async def test_a_user_in_the_words_of_the_monitor(any_net: Net) -> None:
    tunnel, user = await used(any_net)
    (row,) = connections(tunnel.server.users, tunnel.server.close_users).rows(Selection())
    assert row
    host, port = user.address
    assert (row.user, row.port, row.protocol) == (f"{host}:{port}", f"{HOST}:{tunnel.ports[0]}", "tcp")
    stream = r" stream \d+ of session \d+" if any_net.transport.endswith("mux") else ""
    assert re.fullmatch(any_net.transport + stream, row.carrier)
    assert abs(row.since - time.time()) < 60


async def test_a_user_whose_direction_has_ended(any_net: Net) -> None:
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    user = await tunnel.user()
    target = await listener.accept()
    user.shut_write()
    assert await target.closed()
    assert (only(tunnel.server).phase, only(tunnel.client).phase) == ("user ended", "user ended")


@pytest.mark.parametrize("choose", [lambda user: Selection(number=user.number), lambda user: Selection(host=user.host)])
async def test_a_closed_user_is_reset(any_net: Net, choose: Callable[[UserState], Selection]) -> None:
    tunnel, user = await used(any_net)
    assert chosen(tunnel.server, choose(only(tunnel.server))) == 1
    await until_reset(user)
    await until(lambda: not list(tunnel.client.users()))
    assert chosen(tunnel.server, Selection()) == 0


async def test_only_the_chosen_users_are_closed(any_net: Net) -> None:
    tunnel, first = await used(any_net)
    second = await tunnel.user()
    await second.send(b"x")
    await second.receive(1)
    assert chosen(tunnel.server, Selection(host=HOST, port=first.address[1])) == 1
    await until_reset(first)
    await second.send(b"y")
    assert await second.receive(1) == b"y"
    assert chosen(tunnel.server, Selection(bind_port=tunnel.ports[0] + 1)) == 0


async def test_a_client_closes_a_user(any_net: Net) -> None:
    tunnel, user = await used(any_net)
    assert chosen(tunnel.client, Selection(number=only(tunnel.client).number)) == 1
    await until_reset(user)
    await until(lambda: not list(tunnel.server.users()))


async def test_a_user_without_a_carrier_is_listed_and_closed(public: Public) -> None:
    await public.client()
    user = await public.user()
    await until(lambda: list(public.server.users()))
    assert (only(public.server).phase, only(public.server).target) == ("waiting", TARGET)
    assert chosen(public.server, Selection(bind_port=public.user_port)) == 1
    await until_reset(user)
    assert public.server.tunnel.waiting == 0


async def test_a_user_whose_target_is_dialled_is_listed_and_closed(net: Net) -> None:
    answered = threading.Event()

    def names(_: str) -> Found:
        answered.wait()
        return look_up(HOST)

    port, bind_port = free_port(), free_port()
    await net.server(bind_port, [f"{HOST}:{port}=slow.example:{await net.echo()}"])
    client = await net.client(bind_port, names=names)
    user = await net.dial(port)
    try:
        await until(lambda: list(client.users()))
        assert (only(client).phase, only(client).target[:12]) == ("dialling", "slow.example")
        assert chosen(client, Selection(number=only(client).number)) == 1
        await until_reset(user)
    finally:
        answered.set()
    await until(lambda: not client.tunnel.dialling)
    assert not list(client.users())


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "udp"])
async def test_a_flow_is_listed_and_closed(transport: str) -> None:
    async with UdpNet(transport) as net:
        tunnel = await net.flows(f"{HOST}:{net.udp_echo().port}")
        user = net.udp(tunnel.ports[0])
        assert await user.ask(b"datagram") == b"echo:datagram"
        served, arrived = only(tunnel.server), only(tunnel.client)
        assert (served.host, served.port, served.bind_port) == (HOST, user.port, tunnel.ports[0])
        for state in (served, arrived):
            assert (state.datagrams, state.phase, state.received, state.sent) == (True, "open", 8, 13)
        assert chosen(tunnel.server, Selection(host=HOST)) == 1
        assert not list(tunnel.server.users())
