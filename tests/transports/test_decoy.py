"""What strangers get to see on the tunnel's port: the same dull web server, whatever they try."""

import asyncio
import os
import shutil
import ssl
from pathlib import Path

import pytest
import websockets
from tests.support.cert import certificate
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import TOKEN, Net
from tests.support.web import UPGRADE, knock, receive_head, with_token

from backhaul.transports import decoy

HEARTBEAT = b"\x00"
WEB = ("ws", "wss", "wsmux", "wssmux")


async def answer_to(net: Net, port: int, data: bytes) -> bytes:
    """Say something to the tunnel's port; return all that it answers."""
    visitor = await net.dial(port)
    await visitor.send(data)
    return await visitor.receive_all()


@pytest.fixture
def ws_net(net: Net) -> Net:
    net.transport = "ws"
    return net


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A website; beside it lies what is nobody's business."""
    root = tmp_path / "site"
    (root / "pages").mkdir(parents=True)
    (root / "index.html").write_text("<h1>Garden</h1>")
    (root / "pages" / "index.html").write_text("<h1>Pages</h1>")
    (root / "style.css").write_text("h1 { color: green }")
    (tmp_path / "secret").write_text("nobody's business")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").mkdir()
    (root / "linked" / "index.html").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "pipe")
    return root


STRANGERS = {
    "a visitor": knock("/channel"),
    "no token": knock("/channel", UPGRADE),
    "wrong token": with_token("wrong"),
    "the token's beginning": with_token(TOKEN[:-1]),
    "an empty token": with_token(""),
    "no bearer": knock("/channel", f"{UPGRADE}Authorization: Basic {TOKEN}\r\n"),
    "wrong token on a tunnel connection": with_token("wrong", "/tunnel/1"),
    "the right token without an upgrade": knock("/channel", f"Authorization: Bearer {TOKEN}\r\n"),
    "the right token elsewhere": with_token(TOKEN, "/"),
}


@pytest.mark.parametrize("path", [pytest.param("", id="root"), pytest.param('path = "/assets"', id="prefix")])
async def test_every_stranger_gets_the_very_same_answer(ws_net: Net, path: str) -> None:
    port = free_port()
    await ws_net.server(port, lines=path)
    plain = await answer_to(ws_net, port, knock("/"))
    assert plain.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert {name: await answer_to(ws_net, port, said) for name, said in STRANGERS.items()} == dict.fromkeys(
        STRANGERS, plain
    )


async def test_who_is_still_talking_gets_the_whole_answer(ws_net: Net) -> None:
    port = free_port()
    await ws_net.server(port)
    head = b"POST /upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4000000\r\n\r\n"
    visitor = await ws_net.dial(port)
    await visitor.send(head + bytes(4_000_000))
    assert (await visitor.receive_all()).endswith(b"</html>\r\n")


async def test_visitors_who_stay_are_pushed_out(ws_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoy, "_MAX_LINGERING", 3)
    port = free_port()
    await ws_net.server(port)
    visitors = [await ws_net.dial(port) for _ in range(5)]
    for visitor in visitors:
        await visitor.send(knock("/"))
        await visitor.receive_all()  # the end comes with the answer, the connection is still there
    await until(lambda: [pushed_out(visitor) for visitor in visitors] == [True, True, False, False, False])


def pushed_out(visitor: Peer) -> bool:
    """Whether nobody hears the visitor any more: what is said is answered with a reset."""
    try:
        visitor.sock.send(b"?")
    except OSError:
        return True
    return False


async def test_a_website_has_no_more_visitors_than_it_can_bear(ws_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoy, "_MAX_FORWARDED", 1)
    website, port = ws_net.listen(), free_port()
    server = await ws_net.server(port, lines=f'decoy = "http://{HOST}:{website.port}"')
    first = await ws_net.dial(port)
    await first.send(knock("/"))
    upstream = await website.accept()
    assert (await answer_to(ws_net, port, knock("/"))).startswith(b"HTTP/1.1 503 ")
    upstream.close()
    first.close()
    await until(lambda: not server.relay.live)
    third = await ws_net.dial(port)
    await third.send(knock("/"))
    assert await (await website.accept()).receive(len(knock("/"))) == knock("/")


async def test_without_the_prefix_the_token_opens_nothing(ws_net: Net) -> None:
    port = free_port()
    await ws_net.server(port, lines='path = "/assets"')
    assert await answer_to(ws_net, port, with_token(TOKEN)) == await answer_to(ws_net, port, knock("/"))


@pytest.mark.parametrize("transport", WEB)
async def test_a_refused_client_is_named_in_the_log_without_any_token(
    net: Net, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    net.transport = transport
    port = free_port()
    server = await net.server(port)
    await net.client(port, 'token = "wrong-one"')
    await until(lambda: "refused a connection from 127.0.0.1: wrong token" in caplog.text)
    await until(lambda: "404" in caplog.text)
    assert not server.tunnel.connected
    assert TOKEN not in caplog.text
    assert "wrong-one" not in caplog.text


FILES = {
    "/": b"<h1>Garden</h1>",
    "/?q=1": b"<h1>Garden</h1>",
    "/pages": b"<h1>Pages</h1>",
    "/pages/": b"<h1>Pages</h1>",
    "/style.css": b"h1 { color: green }",
    "/%73tyle.css": b"h1 { color: green }",
}
OUTSIDE = [
    "/../secret",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "//../secret",
    "/pages/../../secret",
    "/link",
    "/linked",
    "/pipe",
    "/%00",
    "/none",
]


@pytest.mark.parametrize("path", FILES)
async def test_the_files_of_a_directory_are_served(ws_net: Net, site: Path, path: str) -> None:
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    head, _, body = (await answer_to(ws_net, port, knock(path))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"Content-Type: text/css" in head) == path.endswith("css")
    assert body == FILES[path]


@pytest.mark.parametrize("path", OUTSIDE)
async def test_nothing_outside_the_directory_is_served(ws_net: Net, site: Path, path: str) -> None:
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    assert (await answer_to(ws_net, port, knock(path))).startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_a_wrong_token_gets_the_directory_as_a_visitor_does(ws_net: Net, site: Path) -> None:
    (site / "channel").write_text("a page of this name")
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    visitor = await answer_to(ws_net, port, knock("/channel"))
    assert visitor.endswith(b"a page of this name")
    assert await answer_to(ws_net, port, with_token("wrong")) == visitor


@pytest.mark.parametrize("decoy", ["404", "directory"])
async def test_head_gets_no_body(ws_net: Net, site: Path, decoy: str) -> None:
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site if decoy == "directory" else decoy}"')
    seen, head = [await answer_to(ws_net, port, knock("/", method=method)) for method in ("GET", "HEAD")]
    assert head == seen[: seen.index(b"\r\n\r\n") + 4]


async def test_a_large_file_reaches_a_slow_visitor(ws_net: Net, site: Path) -> None:
    content = os.urandom(6 << 20)
    (site / "film").write_bytes(content)
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    visitor = await ws_net.dial(port, rcvbuf=4096)
    await visitor.send(knock("/film"))
    assert (await visitor.receive_all()).endswith(content)


@pytest.mark.parametrize("said", [knock("/page"), with_token("wrong")], ids=["a visitor", "wrong token"])
async def test_another_website_gets_the_request_as_it_was(ws_net: Net, said: bytes) -> None:
    website, port = ws_net.listen(), free_port()
    await ws_net.server(port, lines=f'decoy = "http://{HOST}:{website.port}"')
    visitor = await ws_net.dial(port)
    await visitor.send(said)
    upstream = await website.accept()
    assert await upstream.receive(len(said)) == said
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    upstream.close()
    assert await visitor.receive_all() == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def test_another_website_never_hears_the_token(ws_net: Net) -> None:
    website, port = ws_net.listen(), free_port()
    await ws_net.server(port, lines=f'decoy = "http://{HOST}:{website.port}"')
    lost = await ws_net.dial(port)
    await lost.send(with_token(TOKEN, "/chanel"))
    upstream = await website.accept()
    assert await receive_head(upstream) == with_token("", "/chanel")


async def test_a_website_that_is_down_is_a_bad_gateway(ws_net: Net) -> None:
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "http://{HOST}:{free_port()}"')
    assert (await answer_to(ws_net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


class TestWebsiteBehindTls:
    async def start(self, net: Net, website: int) -> int:
        """Start a server in front of a website; return its port."""
        net.transport = "ws"
        port = free_port()
        await net.server(port, lines=f'decoy = "https://localhost:{website}"')
        return port

    async def test_its_pages_are_shown(self, net: Net, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate()[0]))
        website = free_port()
        net.transport = "wss"  # a decoy of ours is a website like any other
        await net.server(website, lines=f'decoy = "{site}"')
        port = await self.start(net, website)
        assert (await answer_to(net, port, knock("/"))).endswith(FILES["/"])

    async def test_a_certificate_that_nobody_knows_is_a_bad_gateway(self, net: Net) -> None:
        website = free_port()
        net.transport = "wss"
        await net.server(website)
        port = await self.start(net, website)
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

    async def test_silence_is_a_bad_gateway(self, net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decoy, "_UPSTREAM_TIMEOUT", 0.3)
        port = await self.start(net, net.listen().port)
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

    async def test_the_server_stops_in_the_middle_of_a_visit(self, net: Net) -> None:
        website, port = net.listen(), free_port()
        net.transport = "ws"
        server = await net.server(port, lines=f'decoy = "https://localhost:{website.port}"')
        visitor = await net.dial(port)
        await visitor.send(knock("/"))
        upstream = await website.accept()
        await upstream.receive(1)
        await net.stop(server)
        assert await visitor.receive_all() == b""
        await upstream.closed()


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_curl_sees_the_website(net: Net, site: Path, transport: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    net.transport = transport
    port = free_port()
    await net.server(port, lines=f'decoy = "{site}"')
    scheme = "https" if transport == "wss" else "http"
    process = await asyncio.create_subprocess_exec(
        curl, "-sSkf", "--noproxy", "*", f"{scheme}://{HOST}:{port}/pages", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"<h1>Pages</h1>")


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("transport", WEB)
async def test_a_stock_websocket_client_needs_the_token(net: Net, transport: str) -> None:
    net.transport = transport
    port = free_port()
    server = await net.server(port, heartbeat=0.05)
    tls = trusting() if transport.startswith("wss") else None
    url = f"{'wss' if tls else 'ws'}://{HOST}:{port}/channel"
    with pytest.raises(websockets.InvalidStatus, match="404"):
        await websockets.connect(url, ssl=tls, proxy=None)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with websockets.connect(url, ssl=tls, proxy=None, additional_headers=headers) as channel:
        while (message := await channel.recv()) != HEARTBEAT:
            assert isinstance(message, bytes)
        await (await channel.ping())
        assert server.tunnel.connected
    await until(lambda: not server.tunnel.connected)
