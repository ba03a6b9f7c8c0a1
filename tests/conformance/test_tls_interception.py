"""TLS that an attacker ends on tunnel connections only: the control channel shows the server's own certificate."""

import pytest
from tests.support.eavesdropper import Eavesdropper, TlsInterceptor
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Net

SECRET = b"a secret of a user"


@pytest.mark.parametrize("transport", ["wss", "wssmux"])
async def test_a_tunnel_connection_with_another_certificate_is_not_used(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net:
        bind_port, port = free_port(), free_port()
        target = net.listen()
        server = await net.server(bind_port, [f"{HOST}:{port}={target.port}"])
        async with TlsInterceptor(net.listen(), bind_port) as inside, Eavesdropper(net.listen(), bind_port) as between:
            between.then = inside.port
            client = await net.client(between.port, 'security = "required"')
            await until(lambda: server.tunnel.connected)
            user = await net.dial(port)
            await user.send(SECRET)
            await until(lambda: SECRET in inside.heard or "another certificate" in caplog.text)
            user.close()
            assert SECRET not in inside.heard
            assert b"session=" not in inside.heard
            between.target = between.then = bind_port
            await until(lambda: client.tunnel.connected and server.tunnel.connected)
