"""Silent connections are pinged, in forms that proxies and v0.7.2 peers understand."""

from collections.abc import AsyncIterator

import pytest
from tests.support.net import HOST, Listener, Peer, free_port
from tests.support.tunnel import LEGACY, Net
from tests.support.web import (
    BINARY,
    PING,
    PONG,
    TEXT,
    frame,
    receive_frame,
    receive_head,
    switching,
    upgraded,
)

from backhaul.wire.signals import Signal

IDLE_PING = (BINARY, bytes([Signal.PING]))
TARGET = "192.0.2.1:80"


@pytest.fixture
async def ws() -> AsyncIterator[Net]:
    """Provide WebSocket tunnels with a short limit of silence."""
    async with Net("ws") as net:
        net.patience = {"quiet": 0.05}
        yield net


async def pinged(peer: Peer, times: int = 3) -> None:
    """Wait for pings; answer each as v0.7.2 does."""
    for _ in range(times):
        opcode, payload = await receive_frame(peer)
        assert opcode == PING
        await peer.send(frame(PONG, payload, masked=True))


async def accept(listener: Listener) -> Peer:
    """Accept the next connection as a v0.7.2 server."""
    peer = await listener.accept()
    await peer.send(switching(await receive_head(peer)))
    return peer


async def test_a_server_pings_all_silent_connections(ws: Net) -> None:
    port, user_port = free_port(), free_port()
    await ws.server(port, [f"{HOST}:{user_port}={TARGET}"])
    control = await upgraded(ws, port)
    await pinged(control)
    carrier = await upgraded(ws, port, "/tunnel/1")
    for _ in range(3):
        assert await receive_frame(carrier) == IDLE_PING
    user = await ws.dial(user_port)
    while (message := await receive_frame(carrier)) != (TEXT, TARGET.encode()):
        assert message == IDLE_PING
    await pinged(carrier)
    await carrier.send(frame(BINARY, b"answer", masked=True))
    assert await user.receive(6) == b"answer"


async def test_a_client_pings_a_server_of_v072(ws: Net) -> None:
    listener, target = ws.listen(), ws.listen()
    await ws.client(listener.port, f"{LEGACY}\nconnection_pool = 1")
    control = await accept(listener)
    carrier = await accept(listener)
    for _ in range(3):
        opcode, payload = await receive_frame(control)
        assert opcode == PING
        await control.send(frame(PONG, payload))
        assert await receive_frame(carrier) == (PONG, b"")
    await carrier.send(frame(TEXT, f"{HOST}:{target.port}".encode()))
    connection = await target.accept()
    pings = 0
    while pings < 3:
        opcode, payload = await receive_frame(carrier)
        assert (opcode, payload) in {(PING, b""), (PONG, b"")}
        pings += opcode == PING
        await carrier.send(frame(PONG, payload))
    await carrier.send(frame(BINARY, b"hello"))
    assert await connection.receive(5) == b"hello"


async def test_keepalive_period_is_the_longest_silence() -> None:
    async with Net("ws") as net:
        port = free_port()
        await net.server(port, [], "keepalive_period = 1")
        await pinged(await upgraded(net, port), times=1)
