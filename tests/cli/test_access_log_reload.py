"""The access log of the running program: its file, and the signal of logrotate."""

import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.api import Way
from tests.support.net import HOST, free_port, until
from tests.support.program import Program
from tests.support.tunnel import Net

from backhaul.system.status_socket import socket_path

CONFIG = """[server]
bind_addr = "127.0.0.1:{bind}"
transport = "tcp"
token = "a token for tests only"
ports = ["127.0.0.1:{port}=80"]
offline = "wait"
skip_optz = true
access_log = "{log}"
"""


def opened(pid: int) -> set[Path]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.add(link.readlink())
    return found


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


class Server:
    """A running server with an access log, of whose users nobody is carried."""

    def __init__(self, net: Net, folder: Path) -> None:
        self.net = net
        self.file, self.log = folder / "server.toml", folder / "access.log"
        self.port = free_port()
        self.config = CONFIG.format(bind=free_port(), port=self.port, log=self.log)
        self.program: Program

    @contextlib.asynccontextmanager
    async def running(self, config: str = "") -> AsyncIterator[None]:
        """Run with another configuration, or with its own."""
        self.file.touch(0o600)
        self.file.write_text(config or self.config)
        self.program = await Program.start("-c", self.file)
        try:
            await self.program.line("listens on")
            yield
        finally:
            await self.program.kill()

    async def left(self) -> str:
        """Return the user's address in the only line, that of a user who has left."""
        user = await self.net.dial(self.port)
        user.reset()
        await until(lambda: lines(self.log))
        (entry,) = map(json.loads, lines(self.log))
        assert (entry["target"], entry["ending"]) == ("80", "not_carried")
        return str(entry["user"])


@pytest.fixture
def server(net: Net, tmp_path: Path) -> Server:
    return Server(net, tmp_path)


async def test_a_signal_reopens_the_file_even_if_the_configuration_is_broken(server: Server, tmp_path: Path) -> None:
    async with server.running():
        assert await server.left() == HOST
        server.log.rename(tmp_path / "old.log")
        server.file.write_text("nonsense")
        server.program.signal(signal.SIGHUP)
        await server.program.line("not loaded")
        assert await server.left() == HOST


async def test_reopening_lets_the_renamed_file_go(server: Server, tmp_path: Path) -> None:
    async with server.running():
        await server.left()
        old = server.log.rename(tmp_path / "old.log")
        assert old in opened(server.program.pid)
        way = Way(str(socket_path(server.file)), 0, {})
        assert await way.post("/api/reopen") == {"access_log": str(server.log)}
        await until(lambda: old not in opened(server.program.pid))
        assert await server.left() == HOST


async def test_a_reload_begins_and_ends_the_log(server: Server) -> None:
    async with server.running(server.config.replace(f'"{server.log}"', '""')):
        server.file.write_text(server.config)
        server.program.signal(signal.SIGHUP)
        await server.program.line("configuration reloaded: keys: access_log")
        assert await server.left() == HOST
