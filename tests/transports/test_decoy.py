"""What strangers get to see on the tunnel's port: the same dull web server, whatever they try."""

import asyncio
import base64
import os
import shutil
import ssl
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import websockets
from tests.support.cert import certificate
from tests.support.net import HOST, Peer, cuts, fill, free_port, until
from tests.support.tunnel import TOKEN, Net
from tests.support.web import UPGRADE, knock, receive_answer, receive_head, with_token

HEARTBEAT = b"\x00"
WEB = ("ws", "wss", "wsmux", "wssmux")


async def answer_to(net: Net, port: int, data: bytes) -> bytes:
    """Say something to the tunnel's port; return its answer."""
    visitor = await net.dial(port)
    await visitor.send(data)
    return await receive_answer(visitor, head_only=data.startswith(b"HEAD "))


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
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("nobody's business")
    (root / ".hidden").write_text("nobody's business")
    (root / "harmless").symlink_to(root / ".hidden")
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
async def test_a_client_may_come_on_a_connection_that_a_proxy_has_used_for_visitors(net: Net, transport: str) -> None:
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


async def test_the_token_in_clear_opens_nothing_where_tls_is_expected(net: Net) -> None:
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


async def test_a_visitor_who_does_not_read_is_given_up(ws_net: Net, site: Path) -> None:
    with (site / "film").open("wb") as film:
        film.truncate(64 << 20)
    ws_net.limits = replace(ws_net.limits, send_timeout=0.2)
    port = free_port()
    await ws_net.server(port, lines=f'decoy = "{site}"')
    visitor = await ws_net.dial(port, rcvbuf=4096)
    await visitor.send(knock("/film"))
    await visitor.receive_some()
    await until(lambda: is_deaf(visitor))


def is_deaf(visitor: Peer) -> bool:
    """Whether nobody hears the visitor any more: what is said is answered with a reset."""
    try:
        visitor.sock.send(b"?")
    except OSError:
        return True
    return False


class TestWebsite:
    """A decoy that is another website, played by the test."""

    async def start(self, net: Net, lines: str = "") -> int:
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "http://{HOST}:{self.website.port}"\n{lines}')
        return port

    async def ask(self, net: Net, port: int, said: bytes) -> tuple[Peer, Peer, bytes]:
        """Have a visitor say something; return both ends, and the head that the website gets."""
        visitor = await net.dial(port)
        await visitor.send(said)
        upstream = await self.website.accept()
        return visitor, upstream, await receive_head(upstream)

    async def test_it_is_asked_under_its_own_name_for_the_visitor(self, net: Net) -> None:
        port = await self.start(net)
        said = knock(
            "/page?x=1", "Accept: */*\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        )
        visitor, upstream, head = await self.ask(net, port, said)
        forwarded = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: example.com\r\n"
        host = f"{HOST}:{self.website.port}"
        expected = f"GET /page?x=1 HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n{forwarded}Connection: close\r\n\r\n"
        assert head == expected.encode()
        lines = b"HTTP/1.1 200 Fine\r\nServer: Apache\r\nContent-Length: 5\r\nX-A: b\r\n"
        await upstream.send(lines + b"Connection: X-B\r\nX-B: c\r\n\r\nhello")
        answer = lines + b"Connection: keep-alive\r\n\r\nhello"
        assert await visitor.receive(len(answer)) == answer
        assert visitor.silent()

    @pytest.mark.parametrize(
        ("location", "seen"),
        [
            ("http://{site}/blog/new", "/new"),
            ("/blog/new", "/new"),
            ("http://{site}/", "http://{site}/"),
            ("/blogger", "/blogger"),
        ],
    )
    async def test_a_website_in_a_folder(self, net: Net, location: str, seen: str) -> None:
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        site = f"{HOST}:{self.website.port}"
        await net.server(port, lines=f'decoy = "http://{site}/blog/"')
        visitor, upstream, head = await self.ask(net, port, knock("/old?x"))
        assert head.startswith(b"GET /blog/old?x HTTP/1.1\r\n")
        moved = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location.format(site=site)}\r\n\r\n"
        await upstream.send(moved.encode())
        assert f"\r\nLocation: {seen.format(site=site)}\r\n".encode() in await receive_head(visitor)

    async def test_each_of_several_requests_is_looked_at(self, net: Net) -> None:
        port = await self.start(net)
        evil = b"GET /admin HTTP/1.1\r\nHost: internal\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
        visitor, upstream, _ = await self.ask(net, port, knock("/") + evil)
        await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert await receive_head(visitor)
        head = await receive_head(await self.website.accept())
        assert head.startswith(f"GET /admin HTTP/1.1\r\nHost: {HOST}:".encode())
        assert b"uthorization" not in head

    @pytest.mark.parametrize("length", [True, False])
    async def test_bodies_pass_both_ways(self, net: Net, *, length: bool) -> None:
        port = await self.start(net)
        body = os.urandom(300_000)
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        line = f"Content-Length: {len(body)}\r\n" if length else "Transfer-Encoding: chunked\r\n"
        visitor, upstream, head = await self.ask(net, port, knock("/", line, "POST"))
        assert line.encode() in head
        await visitor.send(body if length else framed)
        got = b""
        while len(got) < len(body) or not (length or got.endswith(b"0\r\n\r\n")):
            got += await upstream.receive_some()
        assert (got if length else unchunked(got)) == body
        await upstream.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        upstream.close()
        assert b"Transfer-Encoding: chunked\r\n" in await receive_head(visitor)
        got = b""
        while not got.endswith(b"\r\n0\r\n\r\n"):
            got += await visitor.receive_some()
        assert unchunked(got) == body

    async def test_a_body_without_end_is_refused(self, net: Net) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/", "Transfer-Encoding: chunked\r\n", "POST"))
        drained = asyncio.ensure_future(upstream.closed())
        await visitor.send(b"200000\r\n" + bytes(0x200000))
        assert (await receive_answer(visitor)).startswith(b"HTTP/1.1 413 ")
        await drained

    async def test_a_stalled_visitor_stops_the_website(self, net: Net) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        assert await fill(upstream) < 20 << 20
        visitor.reset()
        await upstream.closed()

    @pytest.mark.parametrize(
        ("said", "status"),
        [
            (b"", 502),
            (b"SSH-2.0-x\r\n", 502),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 502),
            (b"HTTP/1.1 200 OK\r\nX: " + bytes(100_000), 502),
        ],
        ids=["nothing", "no HTTP", "nonsense", "too much"],
    )
    async def test_a_website_that_makes_no_sense_is_a_bad_gateway(self, net: Net, said: bytes, status: int) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(said)
        upstream.shut_write()
        assert (await receive_answer(visitor)).startswith(b"HTTP/1.1 %d " % status)

    async def test_a_website_that_breaks_off_breaks_the_answer_off(self, net: Net) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        upstream.close()
        assert (await visitor.receive_all()).endswith(b"\r\n\r\nhello")

    async def test_silence_is_a_time_out(self, net: Net) -> None:
        net.limits = replace(net.limits, upstream_timeout=0.2)
        port = await self.start(net)
        visitor, _, _ = await self.ask(net, port, knock("/"))
        assert (await receive_answer(visitor)).startswith(b"HTTP/1.1 504 Gateway Time-out\r\n")

    async def test_silence_instead_of_tls_is_a_time_out(self, net: Net) -> None:
        net.limits = replace(net.limits, upstream_timeout=0.2)
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "https://localhost:{self.website.port}"')
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 504 ")

    async def test_one_that_is_down_is_a_bad_gateway(self, net: Net) -> None:
        port = await self.start(net)
        self.website.close()
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

    async def test_idle_visitors_lock_nobody_out(self, net: Net) -> None:
        net.limits = replace(net.limits, visitors=2, visitors_per_address=2)
        port = await self.start(net)
        for _ in range(5):
            visitor, upstream, _ = await self.ask(net, port, knock("/"))
            await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert (await receive_head(visitor)).startswith(b"HTTP/1.1 204 ")

    @pytest.mark.parametrize(
        "lines",
        [
            f"Authorization: Bearer {TOKEN}\r\n",
            f"authorization: bearer   {TOKEN.upper()}\r\n",
            f"Authorization: {TOKEN}\r\n",
            f"Authorization: Bearer {TOKEN[:3]} {TOKEN[3:]}\r\n",
            f"Authorization: Bearer %73{TOKEN[1:]}\r\n",
            f"Authorization: Basic {base64.b64encode(f'user:{TOKEN}'.encode()).decode()}\r\n",
            f"Proxy-Authorization: Bearer {TOKEN}\r\n",
        ],
    )
    async def test_it_never_hears_the_token(self, net: Net, lines: str) -> None:
        port = await self.start(net)
        _, _, head = await self.ask(net, port, knock("/chanel", lines))
        assert b"uthorization" not in head

    async def test_it_gets_the_passwords_of_its_own(self, net: Net) -> None:
        port = await self.start(net)
        _, _, head = await self.ask(net, port, knock("/", "Authorization: Basic dXNlcjpwYXNz\r\nCookie: a=b\r\n"))
        assert b"\r\nAuthorization: Basic dXNlcjpwYXNz\r\nCookie: a=b\r\n" in head

    async def test_a_client_of_ours_with_a_wrong_path_is_not_told_from_a_browser(self, net: Net) -> None:
        port = await self.start(net, 'path = "/hidden"')
        await net.client(port)
        head = await receive_head(await self.website.accept())
        assert head.startswith(b"GET /channel HTTP/1.1\r\n")
        for trace in (b"uthorization", b"ookie", b"pgrade", b"ebSocket"):
            assert trace not in head

    async def test_the_server_stops_in_the_middle_of_an_answer(self, net: Net) -> None:
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        server = await net.server(port, lines=f'decoy = "http://{HOST}:{self.website.port}"')
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await receive_head(visitor)
        await net.stop(server)
        await visitor.closed()
        await upstream.closed()

    async def test_behind_tls_its_pages_are_shown(self, net: Net, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate()[0]))
        website, port = free_port(), free_port()
        net.transport = "wss"  # a decoy of ours is a website like any other
        await net.server(website, lines=f'decoy = "{site}"')
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "https://localhost:{website}"')
        assert (await answer_to(net, port, knock("/"))).endswith(FILES["/"])
        moved = await answer_to(net, port, knock("/pages"))
        assert b"\r\nLocation: /pages/\r\n" in moved

    async def test_a_certificate_that_nobody_knows_is_a_bad_gateway(self, net: Net) -> None:
        website, port = free_port(), free_port()
        net.transport = "wss"
        await net.server(website)
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "https://localhost:{website}"')
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


def unchunked(data: bytes) -> bytes:
    """Return the content of chunks."""
    content = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        content += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return content


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
