"""The states of both ends, over every transport."""

import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from tests.support.datagrams import FLOWS, UdpNet
from tests.support.net import echo, free_port
from tests.support.tunnel import BUILT, TOKEN, Net, Tunnel

from backhaul.client import Client
from backhaul.server import Server
from backhaul.state import State

_PASSWORD, _OTHER_TOKEN = "pa55w0rd", "0ther-t0ken"


@pytest.fixture(params=[*BUILT, "udp"])
async def each_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide the same over every transport."""
    async with UdpNet(request.param) as net:
        yield net


async def busy(net: UdpNet, lines: str = "") -> Tunnel:
    """Start both ends, with users of the transport's kind."""
    if net.transport == "udp":
        tunnel = await net.flows(net.udp_echo().port, server=lines)
        await net.udp(tunnel.ports[0]).ask(b"hello")
        return tunnel
    tunnel = await net.tunnel(await net.echo(), server=f"{FLOWS[net.transport]}\n{lines}")
    await echo(await tunnel.user(), b"hello")
    return tunnel


def encoded(end: Server | Client) -> bytes:
    return msgspec.json.encode(end.state())


async def test_a_state_survives_as_json(each_net: UdpNet) -> None:
    tunnel = await busy(each_net)
    for end in (tunnel.server, tunnel.client):
        state = end.state()
        assert msgspec.json.decode(msgspec.json.encode(state), type=State) == state
        assert state.session.connected
        assert state.relay.users + state.relay.flows == 1
        assert sum(link.streams for link in state.relay.links) == ("mux" in each_net.transport)
    (port,), (target,) = tunnel.server.state().ports, tunnel.client.state().targets
    assert (port.received, port.sent) == (target.received, target.sent)
    assert port.received == 5


async def test_a_state_holds_no_secret(each_net: UdpNet) -> None:
    lines = f'web_port = {free_port()}\nweb_user = "admin"\nweb_password = "{_PASSWORD}"'
    tunnel = await busy(each_net, lines)
    stranger = await each_net.client(tunnel.bind_port, f'token = "{_OTHER_TOKEN}"')
    ends: list[Server | Client] = [tunnel.server, tunnel.client, stranger]
    text = b"".join(map(encoded, ends)).decode()
    secrets = {TOKEN, _PASSWORD, _OTHER_TOKEN}
    assert {end.config.token.reveal() for end in ends} < secrets
    assert not [secret for secret in secrets if secret in text]


async def test_a_state_does_not_grow_with_the_users(any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(), server="mux_con = 64")
    await echo(await tunnel.user(), b"x")
    few = shapes(tunnel)
    for user in [await tunnel.user() for _ in range(40)]:
        await echo(user, b"x")
    state = tunnel.server.state()
    assert state.relay.users == 41
    assert len(state.relay.links) < 20  # those of the pool, and one for each 64 users
    assert shapes(tunnel) == few


def shapes(tunnel: Tunnel) -> list[bytes]:
    """Return both states with 0 for each number, and one session in place of all."""
    numbered = [re.sub(rb"[\d.e-]+(?=[,}])|true|false", b"0", encoded(end)) for end in (tunnel.server, tunnel.client)]
    return [re.sub(rb'(\{"number"[^}]*\}),(?=\{"number")', b"", state) for state in numbered]
