"""The bound on the bytes that wait for all users who do not read."""

import asyncio
import contextlib

import pytest
from tests.support.net import Peer, echo, fill, until, uploading
from tests.support.tunnel import Net

from backhaul.net.predicates import has_error

LIMIT = 1 << 15  # less than the first reads for all users
SMALL = 1 << 14  # bytes: the receive buffer of a user who does not read


@pytest.mark.parametrize("end", ["server", "client"])
async def test_the_user_with_most_unread_bytes_is_reset(
    any_net: Net, end: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKHAUL_NO_SPLICE", "1")  # the kernel keeps the bytes of few connections in pipes
    listener = any_net.listen(rcvbuf=1 << 14)
    tunnel = await any_net.tunnel(listener.port, await any_net.echo())
    budget = (tunnel.server if end == "server" else tunnel.client).relay.budget
    budget.limit = LIMIT
    bystander = await tunnel.user(1)
    await echo(bystander, b"before")
    pairs = [await asyncio.gather(tunnel.user(rcvbuf=1 << 14), listener.accept()) for _ in range(16)]
    senders = [target if end == "server" else user for user, target in pairs]
    receivers = [user if end == "server" else target for user, target in pairs]
    async with uploading(senders):
        await until(lambda: any(has_error(receiver.sock) for receiver in receivers))
    assert "KiB were kept: all connections together keep more than" in caplog.text
    assert budget.held <= LIMIT
    await echo(bystander, b"after")
    for pair in pairs:
        for peer in pair:
            peer.reset()
    await until(lambda: not budget.held)


@pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
async def test_users_whose_target_is_not_reached_yet_count_as_well(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    listener = any_net.listen(backlog=0)
    await any_net.dial(listener.port)  # the only one that the kernel accepts
    tunnel = await any_net.tunnel(listener.port, await any_net.echo())
    budget = tunnel.client.relay.budget
    budget.limit = 16 * LIMIT
    bystander = await tunnel.user(1)
    users = [await tunnel.user() for _ in range(16)]
    async with uploading(users) as uploads:
        await asyncio.wait(uploads, return_when=asyncio.FIRST_COMPLETED)
    assert "KiB were kept: all connections together keep more than" in caplog.text
    assert 0 < budget.held <= budget.limit
    await echo(bystander, b"after")
    for user in users:
        user.reset()
    await until(lambda: not budget.held)


@pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
async def test_many_users_of_a_port_cost_those_of_another_one_nothing(any_net: Net) -> None:
    """Although a user whose window has grown has the largest backlog of all."""
    one, many = any_net.listen(), any_net.listen()
    tunnel = await any_net.tunnel(one.port, many.port, server="mux_version = 2", client="mux_version = 2")
    budget = tunnel.server.relay.budget
    single, sender = await asyncio.gather(tunnel.user(0, rcvbuf=SMALL), one.accept())
    await asyncio.gather(sender.send(bytes(8 << 20)), single.receive(8 << 20))
    await fill(sender)
    budget.limit = (largest := budget.held) * 5 // 2
    others = list[Peer]()
    while not any(has_error(other.sock) for other in others):
        other, sender = await asyncio.gather(tunnel.user(1, rcvbuf=SMALL), many.accept())
        others.append(other)
        with contextlib.suppress(OSError):  # perhaps it is the one that is reset
            await fill(sender)
    assert len(others) > 1
    assert not has_error(single.sock)
    assert budget.held >= largest
