"""Hot reload of the running program; a broken file changes nothing."""

import asyncio
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, PATIENCE, free_port, until
from tests.support.program import Program
from tests.support.udp_clients import insist


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def page() -> Iterator[int]:
    server = ThreadingHTTPServer((HOST, 0), _Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


async def _fetch(port: int) -> bytes:
    def fetch() -> bytes:
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=PATIENCE) as answer:
            body: bytes = answer.read()
        return body

    return await asyncio.to_thread(fetch)


@pytest.fixture
async def programs() -> AsyncIterator[AsyncExitStack]:
    """The stack of programs that run until the test ends."""
    async with AsyncExitStack() as stack:
        yield stack


class End:
    """A running end of a tunnel and the file that describes it."""

    program: Program

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        file.write_text(text)

    async def start(self, programs: AsyncExitStack) -> None:
        """Run the end described by the file."""
        self.program = await Program.start("-c", self.file)
        programs.push_async_callback(self.program.kill)

    def rewrite(self, old: str, new: str) -> None:
        self.file.write_text(self.file.read_text().replace(old, new))

    async def stop(self) -> None:
        self.program.signal(signal.SIGTERM)
        assert await self.program.ended() == 0


@pytest.mark.timeout(120)
async def test_a_file_that_changes_while_the_tunnel_runs(tmp_path: Path, page: int, programs: AsyncExitStack) -> None:
    bind, first, second = free_port(), free_port(), free_port()
    common = 'transport = "tcpmux"\ntoken = "one"\nskip_optz = true\n'
    mapping = f'"{HOST}:{first}={HOST}:{page}"'
    text = f'[server]\nbind_addr = "{HOST}:{bind}"\n{common}ports = [{mapping}]\n'
    server = End(tmp_path / "server.toml", text)
    await server.start(programs)
    await server.program.line("listens on")
    text = f'[client]\nremote_addr = "{HOST}:{bind}"\nretry_interval = 1\n{common}'
    client = End(tmp_path / "client.toml", text)
    await client.start(programs)
    await client.program.line("tunnel is up")
    await server.program.line("tunnel is up")
    assert await _fetch(first) == b"hello"

    server.rewrite(mapping, f'{mapping}, "{HOST}:{second}={HOST}:{page}"')
    await server.program.line("ports: 1 added")
    assert await _fetch(second) == b"hello"

    with socket.create_server((HOST, 0)) as taken:
        other = f"{HOST}:{taken.getsockname()[1]}"
        server.rewrite(f"{mapping}, ", f'{mapping}, "{other}=1", ')
        await server.program.line(f"ports: 1 could not be opened: {other} (address already in use)")
        server.rewrite(f'"{other}=1", ', "")
        await server.program.line("ports: 1 removed")

    server.rewrite("token", "tokn")
    await server.program.line("the old configuration stays in force")
    assert "token: missing; rename tokn, or" in server.program.text
    assert await _fetch(first) == b"hello"

    server.rewrite("tokn", "token")
    server.rewrite('"one"', '"two"')
    await server.program.line("keys: token")
    client.rewrite('"one"', '"two"')
    client.program.signal(signal.SIGHUP)
    await client.program.line("keys: token")
    if client.program.text.count("tunnel is up") == 1:
        await client.program.line("tunnel is up")
    if server.program.text.count("tunnel is up") == 1:
        await server.program.line("tunnel is up")
    assert await _fetch(second) == b"hello"

    server.rewrite(f'{mapping}, "', '"')
    await server.program.line("ports: 1 removed")
    assert await _fetch(second) == b"hello"
    with pytest.raises(OSError, match="refused"):
        await _fetch(first)
    await server.stop()
    await client.stop()
    assert "one" not in server.program.text.split()


async def test_a_page_whose_port_was_taken_is_retried(tmp_path: Path, programs: AsyncExitStack) -> None:
    with socket.create_server((HOST, 0)) as taken:
        web_port = taken.getsockname()[1]
        text = f'[server]\nbind_addr = "{HOST}:{free_port()}"\ntransport = "tcp"\ntoken = "t"\nskip_optz = true\n'
        server = End(tmp_path / "server.toml", text)
        await server.start(programs)
        await server.program.line("listens on")
        server.rewrite("skip_optz", f'web_bind = "{HOST}"\nweb_port = {web_port}\nskip_optz')
        await server.program.line("going on without the page")
    server.program.signal(signal.SIGHUP)
    await server.program.line("monitoring page on")
    assert b"<title>Backhaul</title>" in await _fetch(web_port)
    await server.stop()


async def test_a_page_moves_to_a_unix_socket_and_back(tmp_path: Path, programs: AsyncExitStack) -> None:
    path = tmp_path / "page"
    text = f'[server]\nbind_addr = "{HOST}:{free_port()}"\ntransport = "tcp"\ntoken = "t"\nskip_optz = true\n'
    server = End(tmp_path / "server.toml", text)
    await server.start(programs)
    await server.program.line("listens on")
    server.rewrite("skip_optz", f'web_bind = "unix:{path}"\nskip_optz')
    await server.program.line(f"monitoring page on unix:{path}")
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET / HTTP/1.1\r\nHost: public.example\r\n\r\n")
    assert b"<title>Backhaul</title>" in await reader.read()
    writer.close()
    server.rewrite(f'web_bind = "unix:{path}"\n', "")
    await server.program.line("keys: web_bind")
    await until(lambda: not path.exists())
    await server.stop()


async def test_a_transport_that_changes_to_udp_and_back(tmp_path: Path, programs: AsyncExitStack) -> None:
    bind, port, target = free_port(), free_port(), free_port()
    common = 'transport = "tcp"\ntoken = "t"\nskip_optz = true\n'
    mapping = f'"{HOST}:{port}={HOST}:{target}"'
    text = f'[server]\nbind_addr = "{HOST}:{bind}"\nports = [{mapping}]\naccept_udp = true\n{common}'
    server = End(tmp_path / "server.toml", text)
    await server.start(programs)
    await server.program.line("listens on")
    client = End(tmp_path / "client.toml", f'[client]\nremote_addr = "{HOST}:{bind}"\nretry_interval = 1\n{common}')
    await client.start(programs)
    async with UdpNet("tcp") as net:  # after the programs: uvloop leaves the pipe of one that has ended open at times
        net.udp_echo(port=target)
        user = net.udp(port)
        await insist(user)
        for before, after in (("tcp", "udp"), ("udp", "tcp")):
            told = len(server.program.lines)
            for end in (client, server):
                end.rewrite(f'"{before}"', f'"{after}"')
                end.program.signal(signal.SIGHUP)
                await end.program.line("configuration reloaded: keys: transport")
            connected = f"connected, transport {after}"
            if not any(connected in line for line in server.program.lines[told:]):  # it may come before the reload's
                await server.program.line(connected)
            await insist(user)
    await client.stop()
    await server.stop()
