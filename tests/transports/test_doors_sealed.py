"""The choice of a client between a protected tunnel and v0.7.2's way; the test plays the server, or stands between."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.support.cert import certificate
from tests.support.doors import DoorOwner, door_settings
from tests.support.eavesdropper import Eavesdropper
from tests.support.net import HOST, Listener, Peer, free_port, until
from tests.support.protected import ProtectedServer
from tests.support.tunnel import TOKEN, Net
from tests.support.v072 import HANDSHAKE
from tests.support.web import receive_head, switching

from backhaul.config.secret import Secret
from backhaul.errors import TransportError
from backhaul.net.pollers import make_poller
from backhaul.net.resolver import Resolver, look_up
from backhaul.relay.engine import Relay
from backhaul.server import Server
from backhaul.transports.auth import OwnTokens, Protection, Security
from backhaul.transports.doors.http import HttpDoor
from backhaul.transports.doors.raw import RawDoor
from backhaul.transports.settings import ClientSettings
from backhaul.wire.frames import HEAD_SIZE, Sealed, encode, sealed_kind
from backhaul.wire.signals import Signal

if TYPE_CHECKING:
    from backhaul.transports.connection import Connection

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
NO_ANSWERS = [
    b"",
    Sealed.HANDSHAKE.frame(bytes(100), 0),
    encode(Sealed.HANDSHAKE.value, bytes(100)),
    b"\xff\xff\x80",
    HANDSHAKE,
]
SILENT = "the server did not answer the protected handshake"


class Played:
    """A server of v0.7.2 that counts what it gets."""

    def __init__(self, listener: Listener, transport: str) -> None:
        self.listener = listener
        self.transport = transport
        self.sealed = 0
        self.tokens: list[bytes] = []
        self.accepts = [TOKEN.encode()]

    async def serve(self) -> None:
        """Answer every connection until this task is cancelled."""
        while True:
            peer = await self.listener.accept()
            await (self.serve_raw(peer) if self.transport == "tcp" else self.serve_http(peer))

    async def serve_raw(self, peer: Peer) -> None:
        head = await peer.receive(HEAD_SIZE)
        body = await peer.receive(int.from_bytes(head[:2]))
        if sealed_kind(head[2]) is not Sealed.NOTHING:
            self.sealed += 1
            peer.close()
            return
        self.tokens.append(body)
        if body in self.accepts:
            await peer.send(encode(Signal.CHANNEL, body))
        else:
            peer.close()

    async def serve_http(self, peer: Peer) -> None:
        head = await receive_head(peer)
        shown = [line[22:] for line in head.split(b"\r\n") if line.startswith(b"Authorization: Bearer ")]
        self.sealed += not shown
        self.tokens += shown
        await peer.send(switching(head) if shown and shown[0] in self.accepts else NOT_FOUND)


@pytest.fixture(params=["tcp", "ws"])
async def played(net: Net, request: pytest.FixtureRequest) -> AsyncIterator[Played]:
    server = Played(net.listen(), request.param)
    task = asyncio.ensure_future(server.serve())
    yield server
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def open_door(server: Played, settings: ClientSettings) -> AsyncIterator[RawDoor | HttpDoor]:
    """Provide the door of a client."""
    relay, resolver = Relay(make_poller()), Resolver(lookup=look_up)
    door: RawDoor | HttpDoor = RawDoor(relay.poller, settings, resolver, "tcp")
    if server.transport == "ws":
        door = HttpDoor(relay.poller, relay.pings, settings, resolver, "ws")
    door.start(DoorOwner())
    try:
        yield door
    finally:
        door.disconnect()
        door.close()
        relay.close()
        relay.poller.close()
        resolver.close()


def wanted(server: Played, security: Security, *tokens: str) -> ClientSettings:
    """Return the settings of a client that remembers nothing."""
    settings = door_settings(server.listener.port)
    return replace(
        settings,
        protection=Protection(security),
        tokens=OwnTokens(tokens or [TOKEN]),
        remembered_as="tunnel.example:443",
    )


async def test_a_server_without_an_answer_gets_the_token_from_auto(
    played: Played, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(played, wanted(played, Security.AUTO)) as door:
        assert await door.connect() == HOST
        assert (played.sealed, played.tokens) == (1, [TOKEN.encode()])
        assert "tunnel.example:443 is not protected" in caplog.text
        assert TOKEN not in caplog.text


async def test_required_never_shows_the_token(played: Played) -> None:
    async with open_door(played, wanted(played, Security.REQUIRED)) as door:
        for _ in range(2):
            with pytest.raises(TransportError, match=r"Does the server run this program.* update the older end"):
                await door.connect()
    assert (played.sealed, played.tokens) == (2, [])


async def test_a_remembered_server_gets_no_token(played: Played) -> None:
    settings = wanted(played, Security.AUTO)
    settings.known.remember("tunnel.example:443")
    async with open_door(played, settings) as door:
        with pytest.raises(
            TransportError, match=r"was protected before: .* the older end; .* remove its line from \(memory\)"
        ):
            await door.connect()
    assert (played.sealed, played.tokens) == (1, [])


async def test_legacy_tries_nothing_else(played: Played, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(played, wanted(played, Security.LEGACY)) as door:
        await door.connect()
    assert (played.sealed, played.tokens) == (0, [TOKEN.encode()])
    assert "not protected" not in caplog.text


async def test_without_a_control_channel_nothing_is_dialled(played: Played) -> None:
    results: list[Connection | Exception] = []
    async with open_door(played, wanted(played, Security.REQUIRED)) as door:
        door.dial(results.append)
        await until(lambda: results)
    assert [type(result) for result in results] == [TransportError]
    assert played.tokens == []


async def test_auto_shows_the_next_token_after_a_refusal(played: Played) -> None:
    async with open_door(played, wanted(played, Security.AUTO, "first", TOKEN)) as door:
        with pytest.raises(TransportError):
            await door.connect()
        await door.connect()
    assert played.tokens == [b"first", TOKEN.encode()]


@pytest.mark.parametrize("answer", NO_ANSWERS)
async def test_no_valid_answer_is_none(net: Net, answer: bytes) -> None:
    server = Played(net.listen(), "tcp")
    async with open_door(server, wanted(server, Security.REQUIRED)) as door:
        connecting = asyncio.ensure_future(door.connect())
        peer = await server.listener.accept()
        await peer.send(answer)
        peer.shut_write()
        with pytest.raises(TransportError, match="the protected handshake: is the token right"):
            await connecting
        assert await peer.closed()


@pytest.mark.parametrize("security", [Security.REQUIRED, Security.AUTO])
@pytest.mark.parametrize("known", [True, False])
async def test_silence_of_a_server_is_no_reason_to_doubt_or_show_the_token(
    net: Net, security: Security, *, known: bool
) -> None:
    server = Played(net.listen(), "tcp")
    settings = replace(wanted(server, security, TOKEN, "another"), handshake_timeout=0.05)
    if known:
        settings.known.remember(settings.remembered_as)
    async with open_door(server, settings) as door:
        with pytest.raises(TransportError, match=r"within 0\.05 s: the line or a machine is too slow, or another"):
            await door.connect()
        head = await (await server.listener.accept()).receive(HEAD_SIZE)
        assert sealed_kind(head[2]) is Sealed.HANDSHAKE
        server.listener.sock.setblocking(False)
        with pytest.raises(BlockingIOError):  # neither the other token nor a bare one is tried
            server.listener.sock.accept()


async def test_garbage_after_the_answer_ends_the_attempt_and_the_server_is_remembered(net: Net) -> None:
    server = Played(net.listen(), "tcp")
    settings = wanted(server, Security.AUTO)
    async with open_door(server, settings) as door:
        connecting = asyncio.ensure_future(door.connect())
        peer = await server.listener.accept()
        await ProtectedServer().answer(peer, after=b"\0\0\x11" + bytes(17))
        with pytest.raises(TransportError, match="lost at once"):
            await connecting
        assert await peer.closed()
    assert settings.known.protected("tunnel.example:443")


async def test_a_proxy_that_removes_cookies_prevents_the_handshake(net: Net) -> None:
    server = Played(net.listen(), "ws")
    async with open_door(server, wanted(server, Security.REQUIRED)) as door:
        connecting = asyncio.ensure_future(door.connect())
        peer = await server.listener.accept()
        await peer.send(switching(await receive_head(peer)))
        with pytest.raises(
            TransportError, match=rf"{SILENT}: does a proxy in between remove or replace cookies.*\? Does the "
        ):
            await connecting
        assert await peer.closed()


@pytest.mark.parametrize(
    ("security", "answer", "words"),
    [
        (Security.REQUIRED, NOT_FOUND, "does a proxy in between pass WebSockets? Does the server run"),
        (Security.AUTO, b"", "during the upgrade: are remote_addr and transport right?"),
        (Security.AUTO, BAD_GATEWAY, "a proxy in between answered 502"),
    ],
    ids=["no WebSockets", "closed", "no server"],
)
async def test_a_proxy_without_the_server_gets_no_token(
    net: Net, security: Security, answer: bytes, words: str
) -> None:
    server = Played(net.listen(), "ws")
    async with open_door(server, wanted(server, security)) as door:
        connecting = asyncio.ensure_future(door.connect())
        peer = await server.listener.accept()
        assert b"Authorization" not in await receive_head(peer)
        await peer.send(answer)
        peer.close()
        with pytest.raises(TransportError, match=re.escape(words)):
            await connecting


async def test_a_question_ends_when_the_control_channel_fails(net: Net) -> None:
    server = Played(net.listen(), "ws")
    async with open_door(server, wanted(server, Security.REQUIRED)) as door:
        asking = asyncio.ensure_future(door.measure())
        peer = await server.listener.accept()
        await receive_head(peer)
        door.disconnect()
        with pytest.raises(OSError, match="canceled"):
            await asking
        assert await peer.closed()


class TestWithAServer:
    """Both ends are real."""

    @pytest.fixture(params=["tcp", "tcpmux", "ws", "wsmux"])
    def each_net(self, net: Net, request: pytest.FixtureRequest) -> Net:
        net.transport = request.param
        return net

    async def test_a_protected_server_is_remembered(self, each_net: Net, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        tunnel = await each_net.tunnel()
        assert f"{HOST}:{tunnel.bind_port} is protected, and will get no bare token any more" in caplog.text
        await each_net.stop(tunnel.server)
        await each_net.server(tunnel.bind_port, lines='security = "legacy"')
        await until(lambda: "but was protected before" in caplog.text)
        assert not tunnel.client.tunnel.connected

    @pytest.mark.parametrize("security", ["auto", "required"])
    async def test_the_next_token_is_tried(self, each_net: Net, security: str) -> None:
        port = free_port()
        server = await each_net.server(port, accepted=(Secret("second"),))
        await each_net.client(port, f'security = "{security}"', accepted=(Secret("first"), Secret("second")))
        await until(lambda: server.tunnel.connected)

    async def test_no_token_is_shown_before_all_have_been_tried(self, each_net: Net) -> None:
        server = await each_net.server(port := free_port(), accepted=(Secret("second"),))
        async with Eavesdropper(each_net.listen(), port) as between:
            await each_net.client(between.port, accepted=(Secret("the first"), Secret("second")))
            await until(lambda: server.tunnel.connected)
            assert b"the first" not in between.heard

    async def test_the_reason_of_a_refusal_is_in_both_logs(
        self, each_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        port = free_port()
        server = await each_net.server(port, accepted=(Secret(TOKEN),))
        each_net.transport = {"tcp": "tcpmux", "tcpmux": "tcp", "ws": "wsmux", "wsmux": "ws"}[each_net.transport]
        client = await each_net.client(port)
        reason = f"the client runs {each_net.transport}, this server {server.config.transport}"
        await until(lambda: caplog.text.count(f"{reason}; set the same transport on both ends") >= 2)
        assert {record.name for record in caplog.records if reason in record.message} >= {"backhaul.client"}
        assert not client.tunnel.connected
        assert "not protected" not in caplog.text


@pytest.mark.parametrize("transport", ["ws", "wsmux"])
async def test_a_load_balancer_that_spreads_the_connections_of_a_client_is_named(
    net: Net, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    net.transport = transport
    server, _ = await net.server(first := free_port()), await net.server(second := free_port())
    balancer = net.middlebox(first)
    await net.client(balancer.port, "connection_pool = 1\nresume_timeout = 0")  # no session waits to be resumed
    await until(lambda: server.tunnel.transport.idle)
    balancer.target = second
    for path in balancer.paths[1:]:
        await path.cut()
    await until(lambda: "can't be opened" in caplog.text)
    assert "404 instead of switching to WebSocket: does a proxy in between send them to another server" in caplog.text


class TestTlsInBetween:
    """An attacker with another certificate ends TLS, and passes everything on."""

    server: Server

    @pytest.fixture
    async def between(self, net: Net) -> AsyncIterator[int]:
        """Provide the port of TLS in front of a server on ws."""
        net.transport = "ws"
        port = free_port()
        self.server = await net.server(port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate())
        writers: list[asyncio.StreamWriter] = []
        tasks: list[asyncio.Future[None]] = []

        async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            while data := await reader.read(4096):
                writer.write(data)
            writer.close()

        async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_server, to_server = await asyncio.open_connection(HOST, port)
            tasks.extend(map(asyncio.ensure_future, (pump(reader, to_server), pump(from_server, writer))))

        listener = await asyncio.start_server(passed, HOST, 0, ssl=context)
        net.transport = "wss"
        yield listener.sockets[0].getsockname()[1]
        listener.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test_required_does_not_connect(self, net: Net, between: int, caplog: pytest.LogCaptureFixture) -> None:
        client = await net.client(between, 'security = "required"')
        reason = "TLS is terminated between client and server; if that is your CDN or proxy, set tls_verify"
        await until(lambda: caplog.text.count(reason) >= 2)
        assert not client.tunnel.connected
        assert not self.server.tunnel.connected

    async def test_auto_warns_on_both_ends(self, net: Net, between: int, caplog: pytest.LogCaptureFixture) -> None:
        client = await net.client(between)
        await until(lambda: self.server.tunnel.connected and client.tunnel.connected)
        warned = [record.name for record in caplog.records if "otherwise an attacker listens" in record.message]
        assert sorted(warned) == ["backhaul.client", "backhaul.server"]

    async def test_an_authority_vouches_for_it(self, net: Net, between: int, caplog: pytest.LogCaptureFixture) -> None:
        verify = f'security = "required"\ntls_verify = true\ntls_ca = "{certificate()[0]}"'
        client = await net.client(between, verify)
        await until(lambda: self.server.tunnel.connected and client.tunnel.connected)
        assert "TLS is terminated" not in caplog.text
