"""The compatibility rules R21 to R24 of docs/protocol.md; the number in a test's name is that of its rule."""

import asyncio
import socket
import ssl
import struct

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, Peer, cuts, free_port, until
from tests.support.tunnel import TOKEN, Net
from tests.support.v072 import HANDSHAKE
from tests.support.web import (
    BINARY,
    KEY,
    TEXT,
    receive_frame,
    receive_head,
    switching,
    upgraded,
)

V072 = 'connection_pool = 1\nsecurity = "legacy"'  # lines of a client whose server is v0.7.2
GO_BUFFER = 4096  # bytes: bufio.Reader
SYN, PSH = 0, 2
HEADER = struct.Struct("<BBHI")


@pytest.fixture
def wsmux(net: Net) -> Net:
    net.transport = "wsmux"
    return net


def go_request(path: str) -> bytes:
    """Return the request of v0.7.2's client, with its headers in its order."""
    lines = (
        f"GET {path} HTTP/1.1", f"Host: {HOST}", "User-Agent: Mozilla/5.0", f"Authorization: Bearer {TOKEN}",
        "Connection: Upgrade", "Sec-WebSocket-Extensions: permessage-deflate", f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13", "Upgrade: websocket", "X-User-Id: abcdef", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


def opening(stream: int, target: str) -> bytes:
    """Return the frames that open a stream."""
    text = struct.pack("!H", len(target)) + target.encode()
    return HEADER.pack(1, SYN, 0, stream) + HEADER.pack(1, PSH, len(text), stream) + text


async def read_as_go_does(peer: Peer) -> None:
    """Read an answer through a buffer, and lose the bytes after it in that buffer."""
    loop, head = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in head:
        head += await loop.sock_recv(peer.sock, GO_BUFFER - len(head) % GO_BUFFER)
    assert head.startswith(b"HTTP/1.1 101 ")


async def test_r21_a_client_that_loses_bytes_read_with_the_answer_misses_no_stream(wsmux: Net) -> None:
    port, local = free_port(), free_port()
    await wsmux.server(port, [f"{HOST}:{local}=80"])
    await upgraded(wsmux, port)
    await wsmux.dial(local)  # a stream is opened as soon as there is a session
    session = await wsmux.dial(port)
    await session.send(go_request("/tunnel/1"))
    await read_as_go_does(session)
    assert await session.receive(len(opening(3, "80"))) == opening(3, "80")


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_r21_the_client_keeps_bytes_read_with_the_answer(wsmux: Net, size: int) -> None:
    listener, target = wsmux.listen(), wsmux.listen()
    await wsmux.client(listener.port, V072)
    channel = await listener.accept()
    await channel.send(switching(await receive_head(channel)))
    session = await listener.accept()
    for piece in cuts(switching(await receive_head(session)) + opening(3, f"{HOST}:{target.port}"), size):
        await session.send(piece)
    await target.accept()


async def test_r22_fragments_of_4096_bytes_and_no_compression(net: Net) -> None:
    net.transport = "ws"
    port, local = free_port(), free_port()
    await net.server(port, [f"{HOST}:{local}=80"])
    await upgraded(net, port)
    idle = await net.dial(port)
    await idle.send(go_request("/tunnel/1"))
    assert b"sec-websocket-extensions" not in (await receive_head(idle)).lower()
    user = await net.dial(local)
    assert await receive_frame(idle) == (TEXT, b"80")
    pieces = list(cuts(bytes(range(256)) * 64, GO_BUFFER))
    for number, piece in enumerate(pieces):
        first, last = number == 0, number == len(pieces) - 1
        head = bytes([(BINARY if first else 0) | (0x80 if last else 0), 0x80 | 126]) + struct.pack("!H", len(piece))
        await idle.send(head + bytes(4) + piece)
    assert await user.receive(256 * 64) == b"".join(pieces)


async def test_r22_no_empty_message_is_sent_on_the_channel(net: Net) -> None:
    net.transport = "ws"
    port, local = free_port(), free_port()
    server = await net.server(port, [f"{HOST}:{local}=80"], heartbeat=0.01)
    channel = await upgraded(net, port)
    await until(lambda: server.tunnel.connected)
    await net.dial(local)
    heard = [await receive_frame(channel) for _ in range(10)]
    assert {opcode for opcode, _ in heard} == {BINARY}
    assert all(len(payload) == 1 for _, payload in heard)


async def test_r23_the_client_offers_no_h2(net: Net) -> None:
    net.transport = "wssmux"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not chosen.done():
            chosen.set_result(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        writer.close()

    port = free_port()
    async with await asyncio.start_server(connected, HOST, port, ssl=context):
        client = await net.client(port)
        assert await chosen != "h2"
        await net.stop(client)


async def test_r23_the_answer_is_a_separate_tls_record(net: Net) -> None:
    net.transport = "wssmux"
    port, local = free_port(), free_port()
    await net.server(port, [f"{HOST}:{local}=80"])
    await net.dial(local)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sockets = []

    def ask(path: str) -> bytes:
        sockets.append(context.wrap_socket(socket.create_connection((HOST, port), timeout=10)))
        sockets[-1].sendall(go_request(path))
        return sockets[-1].recv(1 << 16)  # at most one record

    assert (await asyncio.to_thread(ask, "/channel")).endswith(b"\r\n\r\n")
    assert (await asyncio.to_thread(ask, "/tunnel/1")).endswith(b"\r\n\r\n")
    first_frames = b""
    while len(first_frames) < len(opening(3, "80")):
        first_frames += await asyncio.to_thread(sockets[1].recv, 1 << 16)
    assert first_frames == opening(3, "80")
    for sock in sockets:
        sock.close()


async def test_r24_the_control_channel_of_tcpmux_gets_one_byte_at_the_end(net: Net) -> None:
    net.transport = "tcpmux"
    listener = net.listen()
    client = await net.client(listener.port, V072)
    control = await listener.accept()
    assert await control.receive(len(HANDSHAKE)) == HANDSHAKE
    await control.send(HANDSHAKE)
    session = await listener.accept()
    await control.send(b"\x00\x00\x00")  # heartbeats
    await control.send(b"\x01")  # a request, which is answered by a dial, so all of them have been read
    await listener.accept()
    assert control.silent()
    await net.stop(client)
    assert await control.receive_all() == b"\x03"
    del session


async def test_a_user_of_a_v072_server_outlives_the_control_channel_of_its_session(net: Net) -> None:
    net.transport = "tcpmux"
    listener, target = net.listen(), net.listen()
    client = await net.client(listener.port, V072)
    control = await listener.accept()
    await control.send(await control.receive(len(HANDSHAKE)))
    session = await listener.accept()
    await session.send(opening(3, f"{HOST}:{target.port}"))
    user = await target.accept()
    control.close()
    again = await listener.accept()
    await again.send(await again.receive(len(HANDSHAKE)))
    await until(lambda: client.tunnel.opened == 2)
    client.tunnel.close()  # idle sessions of the old channel close
    await session.send(HEADER.pack(1, PSH, 4, 3) + b"more")
    assert await user.receive(4) == b"more"
