"""The bound on the bytes that wait for all users who do not read."""

import asyncio

import pytest
from tests.support.net import echo, until, uploading
from tests.support.tunnel import Net

from backhaul.net.predicates import has_error

LIMIT = 1 << 16


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
