"""Loss and reconnection of the control channel: users in flight stay, new ones wait."""

import pytest
from tests.support.middlebox import Line
from tests.support.net import free_port, until
from tests.support.protected import ProtectedServer
from tests.support.tunnel import LEGACY, Net

from backhaul.wire.signals import Signal


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


@pytest.mark.parametrize("any_net", ["tcp", "wsmux"], indirect=True)
async def test_a_line_that_is_cut_again_and_again_is_no_other_client(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    await any_net.server(port := free_port())
    middlebox = any_net.middlebox(port)
    client = await any_net.client(middlebox.port, retry_interval=0.001)
    for opened in range(1, 7):
        await until(lambda: client.tunnel.opened == opened and client.tunnel.connected)  # noqa: B023 - within this round
        for path in middlebox.paths:
            await path.cut()
        middlebox.paths.clear()
    assert "another client" not in caplog.text


@pytest.mark.parametrize(
    ("signal", "line"),
    [
        (
            Signal.REPLACED,
            "another client with the same token replaced this one (each client needs its own token)",
        ),
        (Signal.RENEWED, "control channel closed: this client has opened another one to the same server"),
    ],
)
async def test_a_client_is_told_who_has_taken_its_place(
    net: Net, signal: Signal, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener = net.listen()
    await net.client(listener.port)
    control = await ProtectedServer().accept(await listener.accept())
    await control.send(signal)
    control.peer.close()
    await until(lambda: line in caplog.text)


async def test_two_clients_with_one_token_are_reported(any_net: Net, caplog: pytest.LogCaptureFixture) -> None:
    server = await any_net.server(port := free_port())
    clients = [await any_net.client(port, LEGACY) for _ in range(2)]  # of this program the second is refused
    await until(lambda: caplog.text.count("another client with the same token seems to take turns") >= 2)
    await any_net.stop(clients[0])
    await until(lambda: server.tunnel.connected and clients[1].tunnel.connected)
