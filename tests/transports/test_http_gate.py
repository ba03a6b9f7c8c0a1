"""Upgrades between both ends, in pieces or with errors; the other end is played by the test."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.net import Peer, cuts, free_port, until
from tests.support.tunnel import TOKEN, Net
from tests.support.web import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    frame,
    knock,
    receive_frame,
    receive_head,
    switching,
    upgraded,
    with_token,
)

HEARTBEAT, CHANNEL = b"\x00", b"\x01"
MAX_HEAD = 16384


@pytest.fixture(params=["ws", "wsmux"])
def web_net(net: Net, request: pytest.FixtureRequest) -> Net:
    net.transport = request.param
    return net


@pytest.fixture
def ws_net(net: Net) -> Net:
    net.transport = "ws"
    return net


def padded(size: int) -> bytes:
    """Return a request for an upgrade, with the token, of this size, in lines of at most 4096 bytes."""
    lines = f"{UPGRADE}Authorization: Bearer {TOKEN}\r\n"
    while (missing := size - len(knock("/channel", lines))) > 0:
        line = "X-Padding: " + "x" * (min(missing, 4096) - len("X-Padding: \r\n"))
        lines += f"{line}\r\n"
    return knock("/channel", lines)


class TestServer:
    async def test_a_request_byte_by_byte(self, web_net: Net) -> None:
        port = free_port()
        server = await web_net.server(port, heartbeat=0.05)
        client = await web_net.dial(port)
        for byte in cuts(with_token(), 1):
            assert not server.tunnel.connected
            await client.send(byte)
        assert await receive_head(client) == switching(with_token())
        assert (await receive_frame(client))[0] == BINARY

    async def test_bytes_right_after_the_request(self, web_net: Net) -> None:
        port = free_port()
        await web_net.server(port)
        client = await web_net.dial(port)
        await client.send(with_token() + frame(PING, b"early", masked=True))
        await receive_head(client)
        while (heard := await receive_frame(client))[0] != PONG:
            pass
        assert heard[1] == b"early"

    async def test_a_head_of_the_largest_size(self, web_net: Net) -> None:
        port = free_port()
        await web_net.server(port)
        client = await web_net.dial(port)
        await client.send(padded(MAX_HEAD))
        assert (await receive_head(client)).startswith(b"HTTP/1.1 101 ")

    async def test_a_head_that_is_too_large(self, web_net: Net) -> None:
        port = free_port()
        await web_net.server(port)
        client = await web_net.dial(port)
        await client.send(padded(40_000))
        assert (await receive_head(client)).startswith(b"HTTP/1.1 400 Bad Request\r\n")

    @pytest.mark.parametrize("cut", [0, 1, 60])
    async def test_a_client_that_dies_during_the_upgrade(self, web_net: Net, cut: int) -> None:
        port = free_port()
        server = await web_net.server(port)
        client = await web_net.dial(port)
        await client.send(with_token()[:cut])
        client.reset()
        await upgraded(web_net, port)
        assert server.tunnel.connected

    @pytest.mark.parametrize("transport", ["ws", "wss", "wsmux", "wssmux"])
    async def test_silent_connections_make_room(self, net: Net, transport: str) -> None:
        net.limits = replace(net.limits, pending=3, pending_per_address=3)
        net.transport = transport
        port = free_port()
        server = await net.server(port)
        visitors = [await net.dial(port) for _ in range(4)]
        await visitors[0].closed()
        await net.client(port, "connection_pool = 1")
        await until(lambda: server.tunnel.connected)
        assert visitors[-1].silent()

    @pytest.mark.parametrize("transport", ["ws", "wss"])
    @pytest.mark.parametrize("said", [b"", b"GET /cha"])
    async def test_a_visitor_has_limited_time(self, net: Net, transport: str, said: bytes) -> None:
        net.limits = replace(net.limits, head_timeout=0.05)
        net.transport = transport
        port = free_port()
        await net.server(port)
        visitor = await net.dial(port)
        await visitor.send(said)
        assert await visitor.receive_all() == b""

    async def test_many_wrong_tokens_do_not_lock_a_neighbour_out(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        web_net.limits = replace(web_net.limits, failures=3)
        port = free_port()
        await web_net.server(port)
        for token in "abcd":
            visitor = await web_net.dial(port)
            await visitor.send(with_token(token))
            assert (await receive_head(visitor)).startswith(b"HTTP/1.1 404 ")
        assert caplog.text.count("too many failed attempts") == 1
        await upgraded(web_net, port)

    async def test_an_unanswered_heartbeat(self, web_net: Net, caplog: pytest.LogCaptureFixture) -> None:
        web_net.limits = replace(web_net.limits, answer_timeout=0.1)
        port = free_port()
        server = await web_net.server(port, heartbeat=0.05)
        channel = await upgraded(web_net, port)
        await channel.closed()
        await until(lambda: not server.tunnel.connected)
        assert "a heartbeat was not answered" in caplog.text

    async def test_answered_heartbeats_keep_the_channel(self, ws_net: Net) -> None:
        ws_net.limits = replace(ws_net.limits, answer_timeout=1.0)
        port = free_port()
        server = await ws_net.server(port, heartbeat=0.05)
        channel = await upgraded(ws_net, port)
        for _ in range(30):
            while await receive_frame(channel) != (BINARY, HEARTBEAT):
                pass
            await channel.send(frame(BINARY, HEARTBEAT, masked=True))
        assert server.tunnel.connected

    async def test_a_close_on_the_channel(self, web_net: Net) -> None:
        port = free_port()
        server = await web_net.server(port)
        channel = await upgraded(web_net, port)
        await until(lambda: server.tunnel.connected)
        await channel.send(frame(CLOSE, b"\x03\xe9going", masked=True))
        while (heard := await receive_frame(channel))[0] != CLOSE:
            pass
        assert heard[1] == b"\x03\xe9"
        assert await channel.closed()
        assert not server.tunnel.connected

    @pytest.mark.parametrize("nonsense", [frame(BINARY, HEARTBEAT), b"\xff" * 20, frame(PING, b"")[:1] + b"\xff" * 13])
    async def test_nonsense_on_the_channel(self, web_net: Net, nonsense: bytes) -> None:
        port = free_port()
        server = await web_net.server(port)
        channel = await upgraded(web_net, port)
        await until(lambda: server.tunnel.connected)
        await channel.send(nonsense)
        await channel.closed()
        assert not server.tunnel.connected

    async def test_a_ping_on_an_idle_tunnel_connection(self, ws_net: Net) -> None:
        port, local = free_port(), free_port()
        await ws_net.server(port, [f"{local}=80"])
        await upgraded(ws_net, port)
        idle = await upgraded(ws_net, port, "/tunnel/1")
        await idle.send(frame(PING, b"there?", masked=True))
        assert await receive_frame(idle) == (PONG, b"there?")
        await ws_net.dial(local)
        assert await receive_frame(idle) == (TEXT, b"80")

    async def test_the_newest_connection_with_the_token_is_used_first(self, ws_net: Net) -> None:
        port, local = free_port(), free_port()
        server = await ws_net.server(port, [f"{local}=80"])
        await upgraded(ws_net, port)
        for number in range(2):
            newest = await upgraded(ws_net, port, f"/tunnel/{number}")
        await until(lambda: server.tunnel.transport.idle == 2)
        await ws_net.dial(local)
        assert await receive_frame(newest) == (TEXT, b"80")

    @pytest.mark.parametrize("ending", [frame(CLOSE, b"", masked=True), frame(BINARY, b"?", masked=True), b"\xff\xff"])
    async def test_an_idle_tunnel_connection_that_ends_gets_no_user(self, ws_net: Net, ending: bytes) -> None:
        port, local = free_port(), free_port()
        await ws_net.server(port, [f"{local}=80"])
        await upgraded(ws_net, port)
        ended = await upgraded(ws_net, port, "/tunnel/1")
        await ended.send(ending)
        assert await ended.receive_all() == b""
        other = await upgraded(ws_net, port, "/tunnel/2")
        await ws_net.dial(local)
        assert await receive_frame(other) == (TEXT, b"80")


async def send_pieces(said: bytes, size: int) -> tuple[bytes, bool]:
    """Send something to a server in pieces, and close; return its answer, and whether a client can connect then."""
    async with Net("ws") as net:
        port = free_port()
        server = await net.server(port)
        visitor = await net.dial(port)
        try:
            for piece in cuts(said, size):
                await visitor.send(piece)
            visitor.shut_write()
            answer = await visitor.receive_all()
        except OSError:  # the server has closed the connection meanwhile
            answer = b""
        await upgraded(net, port)
        return answer, server.tunnel.connected


HEADS = st.builds(
    lambda start, middle, end: start + middle + end,
    st.sampled_from(
        [b"", b"GET /channel HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n", with_token("x")[:-2]]
    ),
    st.binary(max_size=200),
    st.sampled_from([b"", b"\r\n\r\n", b"\r\n\r\n" + bytes(100)]),
)


@settings(max_examples=60)
@given(HEADS, st.integers(1, 300))
def test_any_bytes_of_a_visitor(said: bytes, size: int) -> None:
    answer, welcome = asyncio.run(send_pieces(said, size))
    assert answer[:12] in {
        b"",
        b"HTTP/1.1 400",
        b"HTTP/1.1 404",
        b"HTTP/1.1 501",
    }  # 501: Transfer-Encoding without a value
    assert welcome


class TestClient:
    async def ask(self, net: Net) -> tuple[Peer, bytes]:
        """Start a client; return its first connection and its request."""
        self.listener = net.listen()
        self.client = await net.client(self.listener.port, 'connection_pool = 1\nsecurity = "legacy"')
        return await self.next()

    async def next(self) -> tuple[Peer, bytes]:
        peer = await self.listener.accept()
        return peer, await receive_head(peer)

    async def channel(self, net: Net, behind: bytes = b"") -> Peer:
        """Accept the control channel."""
        channel, request = await self.ask(net)
        await channel.send(switching(request) + behind)
        return channel

    async def test_an_answer_byte_by_byte(self, web_net: Net) -> None:
        channel, request = await self.ask(web_net)
        for byte in cuts(switching(request), 1):
            assert not self.client.tunnel.connected
            await channel.send(byte)
        await until(lambda: self.client.tunnel.connected)

    @pytest.mark.parametrize(
        ("answer", "complaint"),
        [
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "a proxy in between answered 502"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "the server answered 404 instead of switching to WebSocket"),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "the server refused the token"),
            (switching(with_token()), "answers another request"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not valid HTTP"),
            (b"HTTP/1.1 101 Switch" + b"x" * MAX_HEAD, "has more than 16384 bytes"),
            (b"", "the server closed the connection during the upgrade"),
            (b"HTTP/1.1 101 Swi", "the server closed the connection during the upgrade"),
        ],
    )
    async def test_an_invalid_answer_is_logged_and_the_client_tries_again(
        self, web_net: Net, caplog: pytest.LogCaptureFixture, answer: bytes, complaint: str
    ) -> None:
        peer, _ = await self.ask(web_net)
        await peer.send(answer)
        peer.shut_write()
        again, request = await self.next()
        assert complaint in caplog.text
        assert TOKEN not in caplog.text
        await again.send(switching(request))
        await until(lambda: self.client.tunnel.connected)

    async def test_a_reset_right_after_the_answer(self, web_net: Net) -> None:
        """Nothing of that connection remains: the next one is likely to have its number."""
        peer, request = await self.ask(web_net)
        peer.sock.send(switching(request))
        peer.reset()
        again, request = await self.next()
        await again.send(switching(request))
        await until(lambda: self.client.tunnel.connected)

    async def test_a_server_that_never_answers(self, web_net: Net, caplog: pytest.LogCaptureFixture) -> None:
        web_net.timings = {"upgrade": 0.1}
        silent, _ = await self.ask(web_net)
        assert await silent.closed()
        await self.next()
        assert "the server did not answer the upgrade within 0.1 s" in caplog.text

    async def test_signals_right_after_the_answer(self, web_net: Net) -> None:
        channel = await self.channel(web_net, frame(BINARY, HEARTBEAT) + frame(PING, b"!") + frame(BINARY, CHANNEL) * 3)
        assert {await receive_frame(channel) for _ in range(2)} == {(BINARY, HEARTBEAT), (PONG, b"!")}
        requests = [(await self.next())[1] for _ in range(3)]
        assert all(request.startswith(b"GET /tunnel/") for request in requests)

    async def test_a_close_of_the_channel_leads_to_another_one(self, web_net: Net) -> None:
        channel = await self.channel(web_net, frame(CLOSE, b"\x03\xe9"))
        assert await receive_frame(channel) == (CLOSE, b"\x03\xe9")
        while not (await self.next())[1].startswith(b"GET /channel"):
            pass

    async def test_a_target_and_data_right_after_the_answer(self, ws_net: Net) -> None:
        target = ws_net.listen()
        await self.channel(ws_net)
        tunnel, request = await self.next()
        named = frame(TEXT, str(target.port).encode())
        await tunnel.send(switching(request) + named + frame(BINARY, b"early") + frame(BINARY, b" bird"))
        service = await target.accept()
        assert await service.receive(10) == b"early bird"
        await service.send(b"worm")
        assert await receive_frame(tunnel) == (BINARY, b"worm")

    async def test_a_ping_on_an_idle_tunnel_connection(self, ws_net: Net) -> None:
        target = ws_net.listen()
        await self.channel(ws_net)
        tunnel, request = await self.next()
        await tunnel.send(switching(request) + frame(PING, b"there?"))
        assert await receive_frame(tunnel) == (PONG, b"there?")
        await tunnel.send(frame(TEXT, str(target.port).encode()))
        await target.accept()

    @pytest.mark.parametrize("ending", [frame(CLOSE, b""), b"\xff\xff", frame(TEXT, b"80", masked=True), b""])
    async def test_an_idle_tunnel_connection_that_ends_is_replaced(self, ws_net: Net, ending: bytes) -> None:
        ws_net.timings = {"look": 0.02}
        await self.channel(ws_net)
        tunnel, request = await self.next()
        await tunnel.send(switching(request) + ending)
        if not ending:
            tunnel.shut_write()
        _, replacement = await self.next()
        assert replacement.startswith(b"GET /tunnel/")
        await tunnel.closed()
