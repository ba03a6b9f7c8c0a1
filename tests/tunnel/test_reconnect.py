"""Loss and reconnection of the control channel: users in flight stay, new ones wait."""

import pytest
from tests.support.middlebox import Line
from tests.support.net import free_port, until
from tests.support.tunnel import LEGACY, Net


async def test_users_who_waited_for_a_distant_client_get_a_full_connection(net: Net) -> None:
    """Their half-close works, so the client must have proved its connection by keys that are new."""
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


async def test_a_server_that_is_away_costs_few_lines(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    await net.client(port := free_port(), retry_interval=0.001)
    line = f"can't connect to 127.0.0.1:{port}: connection refused"
    await until(lambda: f"{line} (8 times in a row)" in caplog.text)
    assert [record.getMessage().removeprefix(line) for record in caplog.records] == [
        "",
        " (2 times in a row)",
        " (4 times in a row)",
        " (8 times in a row)",
    ]


async def test_two_clients_with_one_token_are_reported(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    server = await any_net.server(port := free_port())
    clients = [await any_net.client(port, LEGACY) for _ in range(2)]  # of this program the second is refused
    await until(lambda: caplog.text.count("another client with the same token seems to take turns") >= 2)
    await any_net.stop(clients[0])
    await until(lambda: server.tunnel.connected and clients[1].tunnel.connected)
