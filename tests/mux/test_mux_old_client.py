"""A session of a v0.7.2 client, which outlives its control channel on the client, and ends on the server."""

import socket
import struct

import pytest
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import Net
from tests.support.v072 import HANDSHAKE

from backhaul.system.limits import raise_descriptor_limit

FRAME = struct.Struct("<BBHI")  # version, command, length, stream
SYN, FIN, PSH, NOP = 0, 1, 2, 3


@pytest.fixture
def tcpmux(net: Net) -> Net:
    net.transport = "tcpmux"
    return net


async def dial_control(net: Net, port: int) -> Peer:
    """Open a control channel; unlike tcp, tcpmux measures no round trip."""
    control = await net.dial(port)
    await control.send(HANDSHAKE)
    assert await control.receive(len(HANDSHAKE)) == HANDSHAKE
    return control


async def read_until(session: Peer, wanted: int) -> int:
    """Read frames up to one with the command ``wanted``; return its stream."""
    while True:
        _, command, length, stream = FRAME.unpack(await session.receive(FRAME.size))
        await session.receive(length)
        if command == wanted:
            return int(stream)


async def test_its_last_stream_may_be_finished_by_the_client(tcpmux: Net) -> None:
    port, user_port = free_port(), free_port()
    server = await tcpmux.server(port, [f"{HOST}:{user_port}=7100"])
    control = await dial_control(tcpmux, port)
    session = await tcpmux.dial(port)
    user = await tcpmux.dial(user_port)
    await user.send(b"hello")
    stream = await read_until(session, SYN)
    await session.send(FRAME.pack(1, PSH, 2, stream) + b"yo")
    assert await user.receive(2) == b"yo"
    control.close()
    await until(lambda: not server.tunnel.connected)
    await dial_control(tcpmux, port)
    user.reset()
    assert await read_until(session, FIN) == stream
    await session.send(FRAME.pack(1, FIN, 0, stream))
    assert await session.receive_all() == b""
    assert not server.relay.links


async def test_a_request_that_it_ignores_is_repeated_while_a_user_waits(tcpmux: Net) -> None:
    tcpmux.patience = {"request": 0.05}
    port, user_port = free_port(), free_port()
    await tcpmux.server(port, [f"{HOST}:{user_port}=7100"])
    control = await dial_control(tcpmux, port)
    await tcpmux.dial(user_port)
    assert await control.receive(3) == bytes([1, 1, 1])


async def test_more_small_pieces_at_once_than_the_kernel_takes_in_a_vector(tcpmux: Net) -> None:
    port, user_port = free_port(), free_port()
    await tcpmux.server(port, [f"{HOST}:{user_port}=7100"])
    await dial_control(tcpmux, port)
    session = await tcpmux.dial(port)
    user = await tcpmux.dial(user_port)
    stream = await read_until(session, SYN)
    frames = FRAME.pack(1, PSH, 8192, stream) + bytes(8192) + 3000 * (FRAME.pack(1, PSH, 8, stream) + b"8 bytes.")
    await session.send(frames)
    assert await user.receive(8192 + 24000) == bytes(8192) + 3000 * b"8 bytes."


async def test_a_thousand_sessions_that_end_while_a_user_arrives_do_not_close_the_port(tcpmux: Net) -> None:
    raise_descriptor_limit()
    port, user_port = free_port(), free_port()
    server = await tcpmux.server(port, [f"{HOST}:{user_port}=7100"])
    await dial_control(tcpmux, port)
    sessions = [await tcpmux.dial(port) for _ in range(1000)]
    await until(lambda: len(server.relay.links) == len(sessions))
    with socket.create_connection((HOST, user_port)):  # the server sees the user before ...
        for session in sessions:
            session.close()  # ... these; both are there when it looks
        await until(lambda: not server.relay.links)
    user, living = await tcpmux.dial(user_port), await tcpmux.dial(port)
    await user.send(b"hello")
    await read_until(living, SYN)


async def test_a_client_that_opens_streams_loses_its_session(tcpmux: Net, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    await tcpmux.server(port)
    await dial_control(tcpmux, port)
    for _ in range(3):
        session = await tcpmux.dial(port)
        await session.send(FRAME.pack(1, NOP, 0, 0) + 5000 * FRAME.pack(1, SYN, 0, 2))
        assert await session.closed()
    assert caplog.text.count("closed a session: its client opened a stream, which no client does") == 1
