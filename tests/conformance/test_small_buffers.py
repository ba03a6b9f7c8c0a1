"""Connections that accept a message only in parts: bytes that have left are not sent again."""

import socket
from typing import Any

import pytest
from tests.support.net import HOST, Listener, Peer, free_port, until
from tests.support.tunnel import Net

REQUEST = bytes(range(256)) * 400


def refuse_more(target: Listener) -> None:
    """Assert that there is no further connection."""
    with pytest.raises(BlockingIOError):
        target.sock.accept()


@pytest.mark.parametrize("size", [2048, 4096])
async def test_a_large_request_reaches_the_target_once(any_net: Net, size: int) -> None:
    port, user_port, target = free_port(), free_port(), any_net.listen()
    buffers: dict[str, Any] = {"so_sndbuf": size, "so_rcvbuf": size}
    server = await any_net.server(port, [f"{HOST}:{user_port}={target.port}"], **buffers)
    await any_net.client(port, **buffers)
    await until(lambda: server.tunnel.transport.idle)
    user = any_net.keep(Peer(socket.create_connection((HOST, user_port))))
    sent = user.sock.send(REQUEST)  # the server sees the user and the request at the same time
    connection = await target.accept()
    await user.send(REQUEST[sent:])
    assert await connection.receive(len(REQUEST)) == REQUEST
    await connection.send(REQUEST)
    assert await user.receive(len(REQUEST)) == REQUEST
    refuse_more(target)
