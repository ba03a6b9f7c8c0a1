"""The decoy as a website: a reverse proxy, without the token in any spelling."""

import asyncio
import base64
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, Peer, fill, free_port
from tests.support.tunnel import TOKEN, Net
from tests.support.web import answer_to, knock, receive_answer, receive_head


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A website of one page, and a directory."""
    (tmp_path / "index.html").write_text("<h1>Garden</h1>")
    (tmp_path / "pages").mkdir()
    return tmp_path


class TestWebsite:
    """A decoy that is another website, played by the test."""

    async def start(self, net: Net, lines: str = "") -> int:
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "http://{HOST}:{self.website.port}"\n{lines}')
        return port

    async def ask(self, net: Net, port: int, said: bytes) -> tuple[Peer, Peer, bytes]:
        """Send something as a visitor; return both ends, and the head that the website gets."""
        visitor = await net.dial(port)
        await visitor.send(said)
        upstream = await self.website.accept()
        return visitor, upstream, await receive_head(upstream)

    async def test_it_gets_requests_for_its_own_name_on_behalf_of_the_visitor(self, net: Net) -> None:
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

    async def test_each_of_several_requests_is_checked(self, net: Net) -> None:
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
    async def test_an_invalid_answer_of_the_website_is_a_bad_gateway(self, net: Net, said: bytes, status: int) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(said)
        upstream.shut_write()
        assert (await receive_answer(visitor)).startswith(b"HTTP/1.1 %d " % status)

    async def test_a_website_that_breaks_off_ends_the_answer(self, net: Net) -> None:
        port = await self.start(net)
        visitor, upstream, _ = await self.ask(net, port, knock("/"))
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        upstream.close()
        assert (await visitor.receive_all()).endswith(b"\r\n\r\nhello")

    async def test_silence_is_a_time_out(self, net: Net) -> None:
        net.limits = replace(net.limits, upstream_timeout=1)  # a busy machine needs time for the request
        port = await self.start(net)
        visitor, _, _ = await self.ask(net, port, knock("/"))
        assert (await receive_answer(visitor)).startswith(b"HTTP/1.1 504 Gateway Time-out\r\n")

    async def test_silence_instead_of_tls_is_a_time_out(self, net: Net) -> None:
        net.limits = replace(net.limits, upstream_timeout=0.2)
        self.website, port = net.listen(), free_port()
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "https://localhost:{self.website.port}"')
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 504 ")

    async def test_a_website_that_is_down_is_a_bad_gateway(self, net: Net) -> None:
        port = await self.start(net)
        self.website.close()
        assert (await answer_to(net, port, knock("/"))).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")

    async def test_idle_visitors_do_not_lock_others_out(self, net: Net) -> None:
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
    async def test_it_never_gets_the_token(self, net: Net, lines: str) -> None:
        port = await self.start(net)
        _, _, head = await self.ask(net, port, knock("/chanel", lines))
        assert b"uthorization" not in head

    async def test_it_gets_its_own_passwords(self, net: Net) -> None:
        port = await self.start(net)
        _, _, head = await self.ask(net, port, knock("/", "Authorization: Basic dXNlcjpwYXNz\r\nCookie: a=b\r\n"))
        assert b"\r\nAuthorization: Basic dXNlcjpwYXNz\r\nCookie: a=b\r\n" in head

    async def test_a_client_with_a_wrong_path_looks_like_a_browser(self, net: Net) -> None:
        port = await self.start(net, 'path = "/hidden"')
        await net.client(port)
        head = await receive_head(await self.website.accept())
        assert head.startswith(b"GET /channel HTTP/1.1\r\n")
        for trace in (b"uthorization", b"pgrade", b"ebSocket", TOKEN.encode()):
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

    async def test_its_pages_are_shown_over_tls(self, net: Net, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate()[0]))
        website, port = free_port(), free_port()
        net.transport = "wss"  # another decoy is a website like any other
        await net.server(website, lines=f'decoy = "{site}"')
        net.transport = "ws"
        await net.server(port, lines=f'decoy = "https://localhost:{website}"')
        assert (await answer_to(net, port, knock("/"))).endswith(b"<h1>Garden</h1>")
        moved = await answer_to(net, port, knock("/pages"))
        assert b"\r\nLocation: /pages/\r\n" in moved

    async def test_an_unknown_certificate_is_a_bad_gateway(self, net: Net) -> None:
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
