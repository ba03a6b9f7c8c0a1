"""A tunnel connection that is being opened when the control channel is lost."""

from tests.support.net import HOST, until
from tests.support.tunnel import Net
from tests.support.web import BINARY, TEXT, frame, receive_frame, receive_head, switching


async def test_a_server_may_have_a_user_for_a_connection_that_it_was_asked_for() -> None:
    """The server uses the connection from its answer on, which may be under way when the client loses the channel."""
    async with Net("ws") as net:
        target = await net.echo()
        listener = net.listen()
        client = await net.client(listener.port, 'security = "legacy"', connection_pool=1)
        control = await listener.accept()
        await control.send(switching(await receive_head(control)))
        carrier = await listener.accept()
        request = await receive_head(carrier)
        control.close()
        await until(lambda: not client.tunnel.connected)
        await carrier.send(switching(request) + frame(TEXT, f"{HOST}:{target}".encode()) + frame(BINARY, b"hello"))
        assert await receive_frame(carrier) == (BINARY, b"hello")
