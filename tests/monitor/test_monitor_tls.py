"""The HTTP server within TLS: certificates of both ends, bounds of handshakes, and visitors without TLS."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.monitor.visitor import PATIENCE, exchange, parse
from tests.support.authority import CLIENT, DAY, SERVER, Authority, trusting
from tests.support.clock import Clock
from tests.support.net import Sockets, until

from backhaul.errors import TransportError
from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response, Stream
from backhaul.monitor.http_tls import Handshakes, Turns, is_valid
from backhaul.net.tls import ServerContext, ServerTls

pytestmark = pytest.mark.both_loops

HOST = "127.0.0.1"
REQUEST = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = bytes(range(256)) * (8 << 12)  # more than all socket buffers on the way take
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@dataclass
class Page:
    """A page within TLS, and the requests to it."""

    authority: Authority
    limits: dict[str, Any]
    asked: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    def __post_init__(self) -> None:
        self.pair = self.authority.issue("page", (SERVER,))
        files = ServerTls(self.pair.cert, self.pair.key, str(self.authority.file), "web")
        self.context = ServerContext(files)
        self.server = HttpServer(self.respond, open_connection=Handshakes(self.context, **self.limits))

    async def respond(self, request: Request) -> Response | Stream:
        self.asked.append(request)
        if request.path == "/body":
            self.bodies.append(await request.read(1 << 20))
        if request.path == "/stream":
            return Stream(self.pieces(), "text/plain")
        return Response(LARGE if request.path == "/large" else b"hello")

    async def pieces(self) -> Any:  # noqa: ANN401 - an asynchronous generator
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.left.set()

    async def open(self, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, self.port, ssl=context)

    async def ask(self, context: ssl.SSLContext, *pieces: bytes) -> bytes:
        """Send a request, and return the answer up to its end within TLS."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await self.open(context)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            answer = await reader.read()
            writer.transport.abort()
        return answer

    def visitor(self, *pairs: Any) -> ssl.SSLContext:  # noqa: ANN401 - files
        return trusting(self.authority, *pairs)


def fetch(
    page: Page, context: ssl.SSLContext, request: bytes, session: ssl.SSLSession | None = None
) -> tuple[bytes, ssl.SSLSession | None]:
    """Return the answer and the session without an event loop: uvloop's client loses the end of a large answer."""
    with (
        socket.create_connection((HOST, page.port), PATIENCE) as sock,
        context.wrap_socket(sock, server_hostname=HOST, session=session) as visitor,
    ):
        assert bool(visitor.session_reused) == bool(session)
        visitor.send(request)
        answer = b"".join(iter(lambda: visitor.recv(1 << 16), b""))
        return answer, visitor.session


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


@pytest.fixture
def limits() -> dict[str, Any]:
    """The limits of handshakes that differ from the defaults."""
    return {}


@pytest.fixture
async def page(authority: Authority, limits: dict[str, Any]) -> AsyncIterator[Page]:
    page = Page(authority, limits)
    page.port = await page.server.start(HOST, 0)
    yield page
    await page.server.stop()
    assert not page.server.visitors


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("certified", [False, True])
async def test_a_visitor_may_have_a_client_certificate(page: Page, version: ssl.TLSVersion, *, certified: bool) -> None:
    context = page.visitor(page.authority.issue("admin")) if certified else page.visitor()
    context.minimum_version = context.maximum_version = version
    answer = parse(await page.ask(context, REQUEST))
    assert (answer.status, answer.body) == (200, b"hello")
    assert [(asked.certified, asked.peer) for asked in page.asked] == [(certified, HOST)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_resumed_session_has_the_certificate_too(page: Page, version: ssl.TLSVersion) -> None:
    context = page.visitor(page.authority.issue("admin"))
    context.minimum_version = context.maximum_version = version

    _, session = await asyncio.to_thread(fetch, page, context, REQUEST)
    assert session
    await asyncio.to_thread(fetch, page, context, REQUEST, session)
    assert [asked.certified for asked in page.asked] == [True, True]


def test_a_certificate_that_has_ended_since_does_not_count() -> None:
    certificate = {"notAfter": "Jan  5 09:34:43 2018 GMT"}
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    assert [is_valid(certificate, ends + 1), is_valid(certificate, ends - 1), is_valid(None, 0)] == [False, True, False]


@pytest.mark.parametrize(
    ("usages", "until", "words"),
    [
        ((CLIENT,), -DAY, "certificate has expired"),
        ((SERVER,), DAY, "certificate purpose"),
    ],
)
async def test_a_certificate_that_is_not_valid_is_refused_and_logged(
    page: Page, usages: tuple[Any, ...], until: timedelta, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = page.authority.issue("admin", usages, until)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await page.ask(page.visitor(pair), REQUEST)
    assert not page.asked
    (line,) = caplog.messages
    assert line.startswith(f"monitoring page: client certificate of {HOST} refused: ")
    assert line.endswith(f"{words}; it must be a valid one of an authority in web_client_ca")


async def test_a_certificate_of_another_authority_is_refused(page: Page, tmp_path: Path) -> None:
    """It has the same name as the right one, and another key."""
    (tmp_path / "other").mkdir()
    other = Authority.make(tmp_path / "other")
    with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca|decrypt"):
        await page.ask(page.visitor(other.issue("admin")), REQUEST)
    assert not page.asked


async def test_renewed_files_are_in_use_without_a_restart(page: Page, tmp_path: Path) -> None:
    """The authority has changed as well, so certificates of the one before no longer count."""
    admin = page.authority.issue("admin")
    (tmp_path / "other").mkdir()
    other = Authority.make(tmp_path / "other")
    pair = other.issue("new", (SERVER,))
    files = {page.pair.cert: pair.cert, page.pair.key: pair.key, str(page.authority.file): str(other.file)}
    for old, new in files.items():
        shutil.copyfile(new, old)
        os.utime(old, (1, 1))
    page.context.refresh()
    assert parse(await page.ask(trusting(other), REQUEST)).status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await page.ask(trusting(other, admin), REQUEST)


async def test_a_request_in_clear_is_told_to_use_https(page: Page) -> None:
    answer = parse(await exchange(page.port, REQUEST))
    assert (answer.status, answer.body) == (400, b"this page is served over TLS: use https://\n")
    assert not page.asked


async def test_a_visitor_who_sends_on_in_clear_gets_the_answer(page: Page) -> None:
    sockets = Sockets()
    visitor = await sockets.dial(page.port)
    await visitor.send(REQUEST)
    assert parse(await visitor.receive_all()).status == 400
    visitor.fill()
    assert await visitor.closed()
    sockets.close_peers()


@pytest.mark.parametrize("garbage", [b"\x16", b"\x16\x03\x01\x00\x01\x00", b"\x16\x03\x01\xff\xff" + b"x" * 70_000])
async def test_a_broken_handshake_costs_only_itself(page: Page, garbage: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, page.port)
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            writer.write(garbage)
            writer.write_eof()
            assert not (await reader.read()).startswith(b"HTTP")
    writer.transport.abort()
    assert parse(await page.ask(page.visitor(), REQUEST)).status == 200


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=400), cut=st.integers(min_value=0, max_value=400))
def test_the_server_survives_any_bytes(noise: bytes, cut: int, authority: Authority) -> None:
    """They take the place of a hello's end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        trusting(authority).wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
    hello = outgoing.read()[:cut] + noise

    async def visit() -> None:
        page = Page(authority, {})
        page.port = await page.server.start(HOST, 0)
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(HOST, page.port)
            async with asyncio.timeout(PATIENCE):
                writer.write(hello)
                writer.write_eof()
                await reader.read()
            writer.transport.abort()
        assert parse(await page.ask(page.visitor(), REQUEST)).status == 200
        await page.server.stop()

    asyncio.run(visit())


@pytest.mark.parametrize("limits", [{"patience": 0.05}])
@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x01"])
async def test_a_handshake_has_a_time_limit(page: Page, beginning: bytes) -> None:
    reader, writer = await asyncio.open_connection(HOST, page.port)
    async with asyncio.timeout(PATIENCE):
        writer.write(beginning)
        assert await reader.read() == b""
    writer.transport.abort()


@pytest.mark.parametrize("limits", [{"most": 2}])
async def test_a_network_has_a_number_of_handshakes_at_a_time(page: Page) -> None:
    silent = [await asyncio.open_connection(HOST, page.port) for _ in range(2)]
    await until(lambda: page.server.visitors == 2)
    assert await closed_at_once(page.port)
    neighbour = await asyncio.open_connection(HOST, page.port, ssl=page.visitor(), local_addr=("127.0.0.2", 0))
    silent[0][1].transport.abort()
    await until(lambda: page.server.visitors == 2)  # one who is silent, and the neighbour
    assert parse(await page.ask(page.visitor(), REQUEST)).status == 200
    for _, writer in (silent[1], neighbour):
        writer.transport.abort()


async def closed_at_once(port: int) -> bool:
    try:
        return await exchange(port) == b""
    except ConnectionError:
        return True


async def test_handshakes_take_a_share_of_the_time() -> None:
    """Each takes a second of a clock that otherwise stops; the loop's time is not used."""
    clock = Clock()
    turns = Turns(0.5, clock)
    done: list[float] = []

    def work() -> None:
        clock.now += 1
        done.append(clock.now)

    await turns.take(work)
    waiting = asyncio.create_task(turns.take(work))
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(done) == 1
    waiting.cancel()
    clock.now += 1
    await turns.take(work)
    assert len(done) == 2


async def test_a_large_answer_arrives_whole(page: Page) -> None:
    request = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
    answer, _ = await asyncio.to_thread(fetch, page, page.visitor(), request)
    assert parse(answer).body == LARGE


@pytest.mark.parametrize("cut", [1, 1000])
async def test_a_body_arrives_whole(page: Page, cut: int) -> None:
    request = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
    await page.ask(page.visitor(), *(request[index : index + cut] for index in range(0, len(request), cut)))
    assert page.bodies == [b"12345"]


async def test_a_body_that_is_not_read_does_not_cost_the_answer(page: Page) -> None:
    request = b"POST /echo HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000
    assert (await page.ask(page.visitor(), request)).endswith(b"hello")


async def test_a_stream_ends_when_its_reader_leaves(page: Page) -> None:
    reader, writer = await page.open(page.visitor())
    writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b"first")
        writer.close()
        await page.left.wait()
    await until(lambda: not page.server.visitors)


async def test_a_page_on_a_unix_socket(page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("unix") / "page.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    await page.server.stop()
    await page.server.serve(sock)
    reader, writer = await asyncio.open_unix_connection(path, ssl=page.visitor(), server_hostname=HOST)
    async with asyncio.timeout(PATIENCE):
        writer.write(REQUEST)
        assert parse(await reader.read()).status == 200
    writer.transport.abort()


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
def test_files_that_are_no_authorities(authority: Authority, content: bytes | None) -> None:
    pair = authority.issue("page", (SERVER,))
    ca = authority.folder / "ca.crt"
    ca.write_bytes(Path(pair.cert).read_bytes() if content is None else content)
    with pytest.raises(TransportError, match=rf"web_client_ca {ca}: .*; name a PEM file of the authorities"):
        ServerContext(ServerTls(pair.cert, pair.key, str(ca), "web"))
