"""A server whose heart beats slowly is asked for a sign of life before it is given up, where it can be asked."""

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net

ASKABLE = ["tcp", "ws", "wss", "wsmux", "wssmux"]  # the control channel of tcpmux has no place for a question


@pytest.mark.parametrize("any_net", ASKABLE, indirect=True)
async def test_a_server_that_answers_is_believed(doubts: list[float], any_net: Net) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(), server="heartbeat = 3600")
    await until(lambda: len(doubts) >= 4)
    assert tunnel.client.tunnel.opened == 1
    await echo(await tunnel.user(), b"still here")


@pytest.mark.parametrize("any_net", [*ASKABLE, "tcpmux"], indirect=True)
async def test_a_server_that_does_not_is_given_up(
    doubts: list[float], any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    bind_port, port = free_port(), free_port()
    await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    middlebox = any_net.middlebox(bind_port)
    client = await any_net.client(middlebox.port)
    await until(lambda: client.tunnel.connected)
    middlebox.paths[0].freeze()
    await until(lambda: client.tunnel.opened > 1)
    assert len(doubts) >= 1
    assert "control channel lost: no heartbeat" in caplog.text
    await echo(await any_net.dial(port), b"here again")
