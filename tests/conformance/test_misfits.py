"""Two ends that are set to different things can't carry users; at least one of them says so in its log."""

import pytest
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Net

SAME = "both ends need the same transport"


@pytest.mark.parametrize(
    ("server", "client"), [("tcp", "tcpmux"), ("tcpmux", "tcp"), ("ws", "wsmux"), ("wsmux", "ws"), ("wss", "wssmux")]
)
async def test_different_transports(net: Net, server: str, client: str, caplog: pytest.LogCaptureFixture) -> None:
    bind_port, port = free_port(), free_port()
    net.transport = server
    await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"])
    net.transport = client
    end = await net.client(bind_port)
    await until(lambda: end.tunnel.connected)
    user = await net.dial(port)
    await user.send(b"anybody there?")
    await until(lambda: SAME in caplog.text)


@pytest.mark.parametrize("any_net", ["tcpmux", "wsmux"], indirect=True)
async def test_different_versions_of_smux(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    tunnel = await any_net.tunnel(await any_net.echo(), server="mux_version = 2")
    await tunnel.user()
    await until(lambda: f"{SAME} and mux_version" in caplog.text)
