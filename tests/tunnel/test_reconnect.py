"""The control channel is lost and found again: users in flight live on, new ones wait."""

from tests.support.middlebox import Line
from tests.support.net import free_port
from tests.support.tunnel import Net


async def test_users_who_waited_for_a_client_far_away_get_a_connection_like_any_other(net: Net) -> None:
    """Their half-close works, so the client must have shown the ticket that it was only just given."""
    listener, bind_port, user_port = net.listen(), free_port(), free_port()
    await net.server(bind_port, [f"{user_port}={listener.port}"])
    user = await net.dial(user_port)
    await user.send(b"request")
    user.shut_write()
    await net.client(net.middlebox(bind_port, Line(delay=0.02)).port)
    target = await listener.accept()
    assert await target.receive_all() == b"request"
    await target.send(b"answer")
    target.close()
    assert await user.receive_all() == b"answer"
