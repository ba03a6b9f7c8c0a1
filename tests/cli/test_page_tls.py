"""The page of a running program within TLS: its certificates at the start, in a reload, and as a login."""

import asyncio
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.monitor.visitor import PATIENCE, Answer, parse
from tests.support.authority import SERVER, Authority, trusting
from tests.support.net import HOST, free_port
from tests.support.program import Program


class Server:
    """A running server with a page within TLS, which takes client certificates for a login."""

    program: Program

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.page = free_port()
        self.pair = authority.issue("page", (SERVER,))
        self._file = authority.folder / "server.toml"
        self._bind = free_port()
        self.write(f'web_client_ca = "{authority.file}"')

    def write(self, more: str) -> None:
        self._file.write_text(
            f'[server]\nbind_addr = "{HOST}:{self._bind}"\ntransport = "tcp"\ntoken = "{"t" * 40}"\nskip_optz = true\n'
            f'web_bind = "{HOST}"\nweb_port = {self.page}\n'
            f'web_cert = "{self.pair.cert}"\nweb_key = "{self.pair.key}"\n{more}\n'
        )
        self._file.chmod(0o600)

    async def start(self) -> None:
        self.program = await Program.start("-c", self._file)

    async def ask(self, method: str, path: str, context: ssl.SSLContext, *lines: str) -> Answer:
        reader, writer = await asyncio.open_connection(HOST, self.page, ssl=context)
        async with asyncio.timeout(PATIENCE):
            writer.write("\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode())
            answer = parse(await reader.read())
        writer.transport.abort()
        return answer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = Server(Authority.make(tmp_path))
    await server.start()
    await server.program.line(f"monitoring page on https://{HOST}:{server.page}/")
    yield server
    await server.program.kill()


async def test_a_client_certificate_may_change_something(server: Server) -> None:
    admin, other = trusting(server.authority, server.authority.issue("admin")), trusting(server.authority)
    assert (await server.ask("POST", "/api/drain", other, "X-Backhaul: 1")).status == 403
    assert (await server.ask("POST", "/api/drain", admin)).status == 403  # a website could have made a browser send it
    assert (await server.ask("POST", "/api/drain", admin, "X-Backhaul: 1")).body == b'{"draining":true,"users":0}'
    assert (await server.ask("GET", "/api/configuration", admin)).status == 200
    assert "open to everyone" not in server.program.text


@pytest.mark.timeout(120)
async def test_a_reload_changes_who_may_log_in(server: Server) -> None:
    admin, other = trusting(server.authority, server.authority.issue("admin")), trusting(server.authority)
    server.write("")
    server.program.signal(signal.SIGHUP)
    await server.program.line("keys: web_client_ca")
    assert [(await server.ask("GET", "/", one)).status for one in (admin, other)] == [200, 200]
    answer = await server.ask("POST", "/api/drain", admin, "X-Backhaul: 1")
    assert (answer.status, b"web_client_ca" in answer.body) == (403, True)

    server.write('web_user = "admin"\nweb_password = "secret"')
    server.program.signal(signal.SIGHUP)
    await server.program.line("keys: web_user")
    assert [(await server.ask("GET", "/", one)).status for one in (admin, other)] == [401, 401]

    server.write('web_client_ca = "/nowhere"')
    server.program.signal(signal.SIGHUP)
    await server.program.line("the old configuration stays in force")
    assert 'server.web_client_ca: cannot read "/nowhere"' in server.program.text
    assert (await server.ask("GET", "/", other)).status == 401


async def test_unusable_files_stop_the_start(tmp_path: Path) -> None:
    server = Server(Authority.make(tmp_path))
    shutil.copyfile(server.authority.issue("other").key, server.pair.key)
    await server.start()
    assert await server.program.ended() == 2
    (line,) = server.program.lines
    assert "server.web_cert: unusable with web_key: the key belongs to another certificate" in line
