import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.monitor.visitor import PATIENCE, exchange, get, parse
from tests.support.net import Sockets, until

from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response, Stream

pytestmark = pytest.mark.both_loops

REQUEST = b"GET /echo?query HTTP/1.1\r\nHost: x\r\nAuthorization: Basic abc\r\n\r\n"
LARGE = b"x" * (8 << 20)  # more than all socket buffers on the way take
WORDS = b"backhaul_open_connections 1\n" * 100


class Echo:
    """Answers with the requested path; ``/slow`` never, ``/large`` at length."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.bodies: list[bytes] = []
        self.busy = asyncio.Event()

    async def respond(self, request: Request) -> Response | Stream:
        self.asked.append(request)
        self.busy.set()
        if request.path == "/body":
            self.bodies.append(await request.read(4096))
        if request.path == "/slow":
            await asyncio.Event().wait()
        if request.path == "/large":
            return Response(LARGE)
        if request.path == "/pieces":
            return Response(b"first, ", more=(LARGE, b"", b"last"))
        if request.path == "/words":
            return Response(WORDS, headers=(("X-Own", "1"),))
        return Response(request.path.encode(), "text/plain", headers=(("X-Own", "1"),))


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def limits() -> dict[str, Any]:
    """The server's limits that differ from the defaults."""
    return {}


@pytest.fixture
def server(echo: Echo, limits: dict[str, Any]) -> HttpServer:
    return HttpServer(echo.respond, (("X-Always", "2"),), **limits)


@pytest.fixture
async def port(server: HttpServer) -> AsyncIterator[int]:
    yield await server.start("127.0.0.1", 0)
    await server.stop()


async def test_the_file_of_a_given_socket_stays(server: HttpServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It may belong to the service manager, which keeps using it; Python 3.13 would remove it."""
    path = tmp_path_factory.mktemp("unix") / "page.sock"
    with socket.socket(socket.AF_UNIX) as managers:
        managers.bind(str(path))
        managers.listen()
        await server.serve(managers.dup())
        await server.stop()
        assert path.is_socket()


async def test_an_answer_has_the_headers_that_http_requires(port: int, echo: Echo) -> None:
    answer = parse(await exchange(port, REQUEST))
    assert (answer.status, answer.body) == (200, b"/echo")
    assert answer.headers["content-length"] == "5"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["connection"] == "close"
    assert (answer.headers["x-own"], answer.headers["x-always"]) == ("1", "2")
    parsedate_to_datetime(answer.headers["date"])
    assert echo.asked == [Request("/echo", "Basic abc", "x", "127.0.0.1", query="query")]


async def test_a_request_may_arrive_byte_by_byte(port: int) -> None:
    assert parse(await exchange(port, *(bytes([byte]) for byte in REQUEST))).body == b"/echo"


async def test_head_is_get_without_the_body(port: int) -> None:
    answer = await get(port, "/echo", method="HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "5", b"")


async def test_a_visitor_who_sends_on_after_an_invalid_request_gets_the_answer(port: int) -> None:
    sockets = Sockets()
    visitor = await sockets.dial(port)
    await visitor.send(b"nonsense\r\n\r\n")
    assert parse(await visitor.receive_all()).status == 400
    visitor.fill()
    assert await visitor.closed()
    sockets.close_peers()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_other_methods_are_answered_as_in_v072(port: int, echo: Echo, method: str) -> None:
    answer = await get(port, "/echo", "Content-Length: 0", method=method)
    assert (answer.status, answer.headers["x-always"]) == (200, "2")
    assert len(echo.asked) == 1


@pytest.mark.parametrize(
    "garbage",
    [b"\x16\x03\x01\x02\x00\x01", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET /" + b"x" * 70_000],
)
async def test_invalid_requests_are_refused(port: int, echo: Echo, garbage: bytes) -> None:
    answer = parse(await exchange(port, garbage))
    assert (answer.status, answer.headers["x-always"]) == (400, "2")
    assert not echo.asked


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400))
def test_the_server_survives_any_bytes(noise: bytes) -> None:
    async def visit() -> None:
        server = HttpServer(Echo().respond)
        port = await server.start("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            writer.write(noise)
            writer.write_eof()
            raw = await reader.read()
        writer.transport.abort()
        assert not raw or parse(raw).status in (200, 400)
        assert parse(await exchange(port, REQUEST)).status == 200
        await server.stop()

    asyncio.run(visit())


async def test_a_visitor_that_leaves_without_a_request_gets_no_answer(port: int, echo: Echo) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n")
    writer.write_eof()
    assert await reader.read() == b""
    writer.transport.abort()
    assert not echo.asked


@pytest.mark.parametrize("limits", [{"patience": 0.01}])
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n"])
async def test_a_visitor_without_a_request_is_closed(port: int, begun: bytes) -> None:
    assert await exchange(port, begun) == b""


@pytest.mark.parametrize("limits", [{"patience": 0.1}])
async def test_a_visitor_that_does_not_read_its_answer_is_closed(server: HttpServer, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setblocking(False)
        sock.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: server.visitors)
        await until(lambda: not server.visitors)
        assert received(sock) < len(LARGE)


def received(sock: socket.socket) -> int:
    """Return how many bytes have arrived until now, or until the end."""
    count = 0
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while data := sock.recv(1 << 16):
            count += len(data)
    return count


async def test_a_large_answer_arrives_whole(port: int) -> None:
    assert len((await get(port, "/large")).body) == len(LARGE)


@pytest.mark.parametrize("limits", [{"max_visitors": 2}])
@pytest.mark.parametrize(
    "accepted", ["gzip", "deflate, gzip;q=1.0", "GZIP ; q=0.1", "x-gzip", "br;q=1.0,gzip;q=0.8,*;q=0.1"]
)
async def test_a_reader_who_asks_for_gzip_gets_it(port: int, accepted: str) -> None:
    answer = await get(port, "/words", f"Accept-Encoding: {accepted}")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(answer.body) < len(WORDS)
    assert gzip.decompress(answer.body) == WORDS
    assert answer.headers["x-own"] == "1"


@pytest.mark.parametrize("accepted", ["", "identity", "br, deflate", "gzip;q=0", "gzip; q=0.000", "gzipped", "*;q=0"])
async def test_a_reader_who_does_not_ask_for_gzip_gets_plain_bytes(port: int, accepted: str) -> None:
    answer = await get(port, "/words", f"Accept-Encoding: {accepted}")
    assert answer.body == WORDS
    assert "content-encoding" not in answer.headers


async def test_an_answer_in_pieces_arrives_whole(port: int) -> None:
    whole = b"first, " + LARGE + b"last"
    answer = await get(port, "/pieces")
    assert (answer.body, answer.headers["content-length"]) == (whole, str(len(whole)))
    assert gzip.decompress((await get(port, "/pieces", "Accept-Encoding: gzip")).body) == whole
    assert (await get(port, "/pieces", method="HEAD")).headers["content-length"] == str(len(whole))


async def test_a_large_answer_is_packed_as_a_whole(port: int) -> None:
    assert gzip.decompress((await get(port, "/large", "Accept-Encoding: gzip")).body) == LARGE


async def test_a_small_answer_stays_as_it_is(port: int) -> None:
    assert (await get(port, "/echo", "Accept-Encoding: gzip")).body == b"/echo"


async def test_the_head_of_a_packed_answer_is_that_of_get(port: int) -> None:
    whole = await get(port, "/words", "Accept-Encoding: gzip")
    head = await get(port, "/words", "Accept-Encoding: gzip", method="HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", whole.headers["content-length"])


async def test_in_a_crowd_the_longest_silent_visitor_makes_room(port: int) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for _ in range(5):
        assert (await exchange(port, REQUEST)).startswith(b"HTTP/1.1 200 ")
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            assert await silent[0][0].read() == b""
    for _, writer in silent:
        writer.transport.abort()


async def test_stopping_closes_all_visitors(echo: Echo) -> None:
    server = HttpServer(echo.respond)
    port = await server.start("127.0.0.1", 0)
    waiting = asyncio.create_task(refused_slowly(port))
    await echo.busy.wait()
    await server.stop()
    assert await waiting == b""
    with pytest.raises(OSError, match="111"):
        await asyncio.open_connection("127.0.0.1", port)


async def refused_slowly(port: int) -> bytes:
    try:
        return await exchange(port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    except ConnectionError:
        return b""


@pytest.mark.parametrize("turns", range(5))
async def test_stopping_closes_a_visitor_who_has_just_come(server: HttpServer, turns: int) -> None:
    """So many turns of the event loop have seen the connection, or its task, which may not have begun."""
    loop = asyncio.get_running_loop()
    if turns == 2 and isinstance(loop, asyncio.SelectorEventLoop):
        pytest.skip("asyncio forgets a connection that Server.close overtakes between accept and transport")
    port = await server.start("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port)) as visitor:
        visitor.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(visitor, 1) == b""
    assert not server.visitors


async def test_a_taken_port_is_an_oserror(port: int, echo: Echo) -> None:
    second = HttpServer(echo.respond)
    with pytest.raises(OSError, match="in use"):
        await second.start("127.0.0.1", port)
    await second.stop()


@pytest.mark.parametrize("cut", [1, 1000])
async def test_the_body_is_read_on_demand(port: int, echo: Echo, cut: int) -> None:
    request = (
        b"POST /body HTTP/1.1\r\nHost: h:1\r\nOrigin: http://h:1\r\nContent-Type: application/json\r\n"
        b"X-Backhaul: close\r\nSec-Fetch-Site: none\r\nLast-Event-ID: 7\r\nContent-Length: 5\r\n\r\n12345"
    )
    await exchange(port, *(request[index : index + cut] for index in range(0, len(request), cut)))
    (asked,) = echo.asked
    assert echo.bodies == [b"12345"]
    assert (asked.method, asked.origin, asked.fetch_site) == ("POST", "http://h:1", "none")
    assert (asked.content_type, asked.intent, asked.host) == ("application/json", "close", "h:1")
    assert asked.last_event == "7"


@pytest.mark.parametrize(("length", "status"), [("-1", 400), ("x", 400), ("9" * 5000, 400), ("4097", 413)])
async def test_a_body_that_is_too_long_is_refused(port: int, echo: Echo, length: str, status: int) -> None:
    raw = await exchange(port, f"POST /body HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
    assert raw.startswith(f"HTTP/1.1 {status} ".encode())
    assert echo.bodies == []


@pytest.mark.parametrize("limits", [{"patience": 0.05}])
async def test_a_body_that_does_not_come_is_not_waited_for(port: int, echo: Echo) -> None:
    assert await exchange(port, b"POST /body HTTP/1.1\r\nContent-Length: 9\r\n\r\n1234") == b""
    assert echo.bodies == []


async def test_a_body_that_is_not_read_does_not_cost_the_answer(port: int) -> None:
    raw = await exchange(port, b"POST /echo HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
    assert raw.endswith(b"/echo")


async def test_an_answer_that_is_being_made_leaves_before_the_server_stops(echo: Echo) -> None:
    """A reload that was asked for through the page may start the page again."""
    server = HttpServer(echo.respond, grace=PATIENCE)
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /body HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
    await echo.busy.wait()
    stopping = asyncio.create_task(server.stop())
    writer.write(b"x")
    async with asyncio.timeout(PATIENCE):
        assert (await reader.read()).endswith(b"/body")
        await stopping
    writer.transport.abort()
