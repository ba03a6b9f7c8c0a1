"""The decoy on the tunnel's port: every request without the token gets the same plain web server."""

import asyncio
import os
import shutil
import ssl
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import websockets
from tests.support.net import HOST, Peer, cuts, free_port, until
from tests.support.tunnel import TOKEN, Net
from tests.support.web import UPGRADE, answer_to, knock, receive_answer, with_token

HEARTBEAT = b"\x00"
WEB = ("ws", "wss", "wsmux", "wssmux")


@pytest.fixture
def ws_net(net: Net) -> Net:
    net.transport = "ws"
    return net


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Make a website, with a private file next to it."""
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
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("nobody's business")
    (root / ".hidden").write_text("nobody's business")
    (root / "harmless").symlink_to(root / ".hidden")
    return root


VISITORS = {
    "no upgrade": knock("/channel"),
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
async def test_every_visitor_gets_the_same_answer(ws_net: Net, path: str) -> None:
    port = free_port()
    await ws_net.server(port, lines=path)
    plain = await answer_to(ws_net, port, knock("/"))
    assert plain.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert {name: await answer_to(ws_net, port, said) for name, said in VISITORS.items()} == dict.fromkeys(
        VISITORS, plain
    )


async def test_a_visitor_who_is_still_sending_gets_the_whole_answer(ws_net: Net) -> None:
    port = free_port()
    await ws_net.server(port)
    head = b"POST /upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4000000\r\n\r\n"
    visitor = await ws_net.dial(port)
    await visitor.send(head + bytes(4_000_000))
    assert (await receive_answer(visitor)).endswith(b"</html>\r\n")


async def test_idle_visitors_make_room_for_others(ws_net: Net) -> None:
    ws_net.limits = replace(ws_net.limits, visitors=3, visitors_per_address=3)
    port = free_port()
    await ws_net.server(port)
    busy = await ws_net.dial(port)
    await busy.send(knock("/")[:-2])
    idle = [await ws_net.dial(port) for _ in range(3)]
    for visitor in idle:
        await visitor.send(knock("/"))
        await receive_answer(visitor)
    await idle[0].closed()
    assert idle[1].silent()
    assert idle[2].silent()
    await busy.send(b"\r\n")
    assert (await receive_answer(busy)).startswith(b"HTTP/1.1 404 ")


async def test_an_address_has_only_its_share_of_the_visits(ws_net: Net) -> None:
    ws_net.limits = replace(ws_net.limits, visitors=10, visitors_per_address=1)
    port = free_port()
    await ws_net.server(port)
    other = await ws_net.dial(port, source="127.0.0.2")
    visitors = [await ws_net.dial(port) for _ in range(2)]
    for visitor in (other, *visitors):
        await visitor.send(knock("/"))
        await receive_answer(visitor)
    await visitors[0].closed()
    assert other.silent()
    assert visitors[1].silent()


@pytest.mark.parametrize("transport", WEB)
async def test_a_client_may_use_a_connection_that_a_proxy_has_used_for_visitors(net: Net, transport: str) -> None:
    net.transport = transport
    port = free_port()
    server = await net.server(port)
    reader, writer = await asyncio.open_connection(HOST, port, ssl=trusting() if transport.startswith("wss") else None)
    writer.write(knock("/"))
    assert (await reader.readuntil(b"</html>\r\n")).startswith(b"HTTP/1.1 404 ")
    for byte in cuts(with_token(), 40):
        writer.write(byte)
        await writer.drain()
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert server.tunnel.connected
    writer.close()
    await until(lambda: not server.tunnel.connected)


async def test_the_token_without_tls_opens_nothing_if_tls_is_expected(net: Net) -> None:
    net.transport = "wss"
    port = free_port()
    server = await net.server(port)
    assert b"The plain HTTP request was sent to HTTPS port" in await answer_to(net, port, with_token())
    assert not server.tunnel.connected


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
    "/linked/",
    "/pipe",
    "/%00",
    "/none",
    "/.hidden",
    "/.git/config",
    "/harmless",
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
    assert (await answer_to(ws_net, port, knock(path)))[:12] in {b"HTTP/1.1 404", b"HTTP/1.1 400"}


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


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_a_large_file_reaches_a_slow_visitor(net: Net, site: Path, transport: str) -> None:
    content = os.urandom(6 << 20)
    (site / "film").write_bytes(content)
    net.transport = transport
    port = free_port()
    await net.server(port, lines=f'decoy = "{site}"')
    tls = trusting() if transport == "wss" else None
    reader, writer = await asyncio.open_connection(HOST, port, ssl=tls, limit=4096)
    writer.write(knock("/film", "Connection: close\r\n"))
    assert (await reader.read()).endswith(content)
    writer.close()


@pytest.mark.parametrize("transport", ["ws", "wss"])
async def test_visitors_who_do_not_read_cost_no_memory(net: Net, site: Path, transport: str) -> None:
    with (site / "film").open("wb") as film:
        film.truncate(16 << 20)
    net.transport = transport
    port = free_port()
    await net.server(port, lines=f'decoy = "{site}"')
    tls = trusting() if transport == "wss" else None
    tracemalloc.start()
    try:
        writers = []
        for _ in range(10):
            reader, writer = await asyncio.open_connection(HOST, port, ssl=tls, limit=1)
            writer.write(knock("/film"))
            await reader.read(1)
            writers.append(writer)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
        for writer in writers:
            writer.transport.abort()


async def test_a_visitor_who_does_not_read_is_closed(ws_net: Net, site: Path) -> None:
    with (site / "film").open("wb") as film:
        film.truncate(64 << 20)
    ws_net.limits = replace(ws_net.limits, send_timeout=0.2)
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    visitor = await ws_net.dial(port, rcvbuf=4096)
    await visitor.send(knock("/film"))
    await visitor.receive_some()
    await until(lambda: resets(visitor))


def resets(visitor: Peer) -> bool:
    """Return whether the visitor's bytes are answered with a reset."""
    try:
        visitor.sock.send(b"?")
    except OSError:
        return True
    return False


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
        curl, "-sSkf", "--noproxy", "*", f"{scheme}://{HOST}:{port}/pages/", stdout=asyncio.subprocess.PIPE
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
