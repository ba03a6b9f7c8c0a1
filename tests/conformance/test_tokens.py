"""A token is changed while the tunnel runs: a server accepts several, and a client tries its own in turn."""

import logging
from typing import Any

import pytest
from tests.support.net import echo, free_port, until
from tests.support.tunnel import BUILT, Net

from backhaul.config.secret import Secret


def tokens(*texts: str) -> dict[str, Any]:
    return {"accepted": tuple(map(Secret, texts))}


@pytest.mark.parametrize("shown", ["new", "old"])
async def test_a_server_accepts_each_of_its_tokens(any_net: Net, shown: str) -> None:
    bind, port, target = free_port(), free_port(), await any_net.echo()
    server = await any_net.server(bind, [f"{port}={target}"], **tokens("new", "old"))
    await any_net.client(bind, **tokens(shown))
    await until(lambda: server.tunnel.connected)
    await echo(await any_net.dial(port), b"hello")


@pytest.mark.parametrize("transport", [*BUILT, "udp"])
async def test_a_client_tries_its_tokens_in_turn(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Net(transport) as net:
        bind = free_port()
        server = await net.server(bind, **tokens("old"))
        client = await net.client(bind, retry_interval=0.01, **tokens("new", "newer", "old"))
        await until(lambda: server.tunnel.connected and client.tunnel.connected)
        assert client.tunnel.opened == 1
        for secret in ("newer", "old,"):
            assert secret not in caplog.text


async def test_a_server_that_can_not_be_reached_refuses_no_token(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bind = free_port()
    await net.client(bind, retry_interval=0.01, **tokens("first", "second"))
    await until(lambda: "(4 times in a row)" in caplog.text)
    assert "may be refused" not in caplog.text
    server = await net.server(bind, **tokens("first"))
    await until(lambda: server.tunnel.connected)


async def test_no_other_token_opens_the_tunnel(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    bind = free_port()
    server = await any_net.server(bind, **tokens("new", "old"))
    await any_net.client(bind, retry_interval=0.01, **tokens("newold"))
    await until(lambda: "refused a connection from" in caplog.text and "wrong token" in caplog.text)
    assert not server.tunnel.opened
