"""The log and the counters after the end of a user, over every transport."""

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import Net

MSS = 1000


@pytest.mark.parametrize(
    ("who", "act", "ending"),
    [
        ("user", Peer.close, "closed by the user"),
        ("target", Peer.close, "closed by the target"),
        ("user", Peer.reset, "reset by the user"),
        ("target", Peer.reset, "reset by the target"),
    ],
)
async def test_each_end_has_a_line_for_each_user(
    any_net: Net, who: str, act: Callable[[Peer], None], ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "backhaul")
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    user, target = await asyncio.gather(tunnel.user(), listener.accept())
    name = f"{HOST}:{user.sock.getsockname()[1]}"
    await user.send(b"request")
    assert await target.receive(7) == b"request"
    await target.send(b"answer")
    assert await user.receive(6) == b"answer"
    first, second = (user, target) if who == "user" else (target, user)
    act(first)
    await second.closed()
    second.close()
    line = f"target {listener.port}: 7 bytes from the user, 6 bytes to the user, "
    await until(lambda: caplog.text.count(line) == 2)
    assert f"user {name} of port {HOST}:{tunnel.ports[0]}, {line}" in caplog.text
    assert f"a user, {line}" in caplog.text
    assert caplog.text.count(ending) == 2


async def test_a_target_that_refuses_is_counted_on_the_port(any_net: Net) -> None:
    tunnel = await any_net.tunnel(free_port(), await any_net.echo())
    user, other = await tunnel.user(0), await tunnel.user(1)
    assert not await user.closed()
    await other.send(b"hello")
    assert await other.receive(5) == b"hello"
    other.reset()
    refused, served = tunnel.server.tunnel.ports.open.values()
    await until(lambda: not served.open)
    assert (refused.target_refused, served.target_refused) == (1, 0)


async def test_a_user_who_resets_before_a_client_arrives_is_closed_once(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    """The next user is carried nevertheless."""
    bind_port, port = free_port(), free_port()
    server = await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    gone, other = await any_net.dial(port), await any_net.dial(port)
    await until(lambda: server.tunnel.waiting == 2)
    gone.reset()
    await any_net.client(bind_port)
    await other.send(b"hello")
    assert await other.receive(5) == b"hello"
    other.reset()
    (users,) = server.tunnel.ports.open.values()
    await until(lambda: users.open <= 0)
    assert users.open == 0
    assert "internal error" not in caplog.text


async def test_segments_are_as_small_as_both_ends_set(any_net: Net) -> None:
    """``mss`` holds for the end that connects and the end that listens, on every transport of streams."""
    bind_port, listener = free_port(), any_net.listen()
    await any_net.server(bind_port, [], f"mss = {MSS}")
    await any_net.client(listener.port, f"mss = {MSS}")
    for peer in await asyncio.gather(any_net.dial(bind_port), listener.accept()):
        assert peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= MSS
