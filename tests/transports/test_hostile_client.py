"""A client with the right token that returns without end, and sessions that it leaves behind."""

from dataclasses import replace

import pytest
from tests.support.mux import links_of
from tests.support.net import HOST, Peer, free_port, until
from tests.support.protected_client import ProtectedClient, client_settings
from tests.support.public import TARGET, Public
from tests.support.tunnel import Net
from tests.support.v072 import dial_control
from tests.support.web import receive_head, with_token

from backhaul.wire.signals import Signal

SAME = replace(client_settings(), instance=bytes(16))
LIMIT = 2  # channel_size


@pytest.fixture
async def tcpmux(net: Net) -> Public:
    """Return a server that keeps few sessions."""
    net.transport = "tcpmux"
    port, user_port = free_port(), free_port()
    server = await net.server(port, [f"{HOST}:{user_port}={TARGET}"], "mux_con = 1", channel_size=LIMIT)
    return Public(net, server, port, user_port)


async def returned(public: Public) -> ProtectedClient:
    """Return the next control channel of one client."""
    return await (await ProtectedClient.dial(public.net, public.port, settings=SAME)).confirm()


async def occupied(public: Public, client: ProtectedClient) -> tuple[Peer, Peer]:
    """Return a session with a user."""
    known = len(links_of(public.server))
    carrier, _ = await client.carrier()
    await until(lambda: len(links_of(public.server)) > known)
    user = await public.user()
    await carrier.receive(1)
    return carrier, user


async def test_sessions_without_users_that_a_client_leaves_behind_are_bounded(tcpmux: Public) -> None:
    left: list[tuple[Peer, Peer]] = []
    for _ in range(2):
        client = await returned(tcpmux)
        left += [await occupied(tcpmux, client) for _ in range(LIMIT)]
    users = [user for _, user in left]
    links = links_of(tcpmux.server)
    for user in users[1:]:
        user.reset()
    await until(lambda: sum(not link.session.in_use for link in links) == len(users) - 1)
    assert not any(link.closed for link in links)  # the client has not ended the streams of these users
    await returned(tcpmux)
    await until(lambda: sum(link.closed for link in links) == len(left) - LIMIT)
    assert not min(links, key=lambda link: link.number).closed  # the one whose user is still there


async def answered(public: Public) -> int:
    """Return how many control channels a client gets that closes each at once."""
    for count in range(100):
        try:
            client = await returned(public)
            await client.send(Signal.CLOSED)
        except (EOFError, ConnectionError):
            return count
    return 100


async def test_a_client_that_connects_again_and_again_gets_no_answer(
    public: Public, caplog: pytest.LogCaptureFixture
) -> None:
    assert 60 <= await answered(public) < 70
    assert caplog.text.count("connects again and again; its handshakes get no answer for 5 s") == 1


async def answered_as_v072(net: Net, port: int) -> int:
    """Return how many control channels a client of v0.7.2 gets that closes each at once."""
    for count in range(100):
        try:
            if net.transport == "tcp":
                control = await dial_control(net, port)
            else:
                control = await net.dial(port)
                await control.send(with_token())
                await receive_head(control)
        except (EOFError, ConnectionError):
            return count
        control.close()
    return 100


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_a_client_of_v072_that_connects_again_and_again_gets_no_answer(
    net: Net, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    net.transport, port = transport, free_port()
    await net.server(port)
    assert 60 <= await answered_as_v072(net, port) < 70
    assert caplog.text.count("connects again and again; its handshakes get no answer for 5 s") == 1
