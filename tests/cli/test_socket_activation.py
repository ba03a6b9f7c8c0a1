"""A server whose listening sockets belong to a unit of the service manager: systemd.socket(5)."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest
from tests.support.net import HOST, echo, free_port
from tests.support.program import Program, passing
from tests.support.tunnel import TOKEN, Net


@dataclass
class Unit:
    """Sockets that outlive the server, and a configuration that uses most of them."""

    net: Net
    folder: Path
    file: Path
    programs: contextlib.AsyncExitStack
    bind: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)
    page: int = field(default_factory=free_port)
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The path to which users of a Unix socket connect."""
        return self.folder / "app.sock"

    def listen(self, family: socket.AddressFamily, address: object, kind: int = socket.SOCK_STREAM) -> None:
        """Make a socket as the service manager does."""
        sock = socket.socket(family, kind)
        self.sockets.append(sock)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)  # type: ignore[arg-type]  # a path or a pair
        if kind == socket.SOCK_STREAM:
            sock.listen()

    async def server(self) -> Program:
        """Start the server; return when it listens."""
        descriptors = [sock.fileno() for sock in self.sockets]
        wrapper = passing(descriptors, ["backhaul.socket"] * len(descriptors))
        program = await Program.start("-c", self.file, wrapper=wrapper, inherit=descriptors)
        self.programs.push_async_callback(program.kill)
        await program.line("monitoring page on")
        return program


@pytest.fixture
async def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Unit]:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    async with Net("tcp") as net, contextlib.AsyncExitStack() as programs:
        unit = Unit(net, tmp_path, tmp_path / "server.toml", programs)
        target = await net.echo()
        unit.file.write_text(
            f'[server]\nbind_addr = "{HOST}:{unit.bind}"\ntransport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\n'
            f'ports = ["{HOST}:{unit.port}={target}", "unix:{unit.path}={target}"]\naccept_udp = true\n'
            f'web_bind = "{HOST}"\nweb_port = {unit.page}\n'
        )
        unit.listen(socket.AF_INET, (HOST, unit.bind))
        unit.listen(socket.AF_INET, (HOST, unit.port))
        unit.listen(socket.AF_INET, (HOST, unit.port), socket.SOCK_DGRAM)
        unit.listen(socket.AF_INET, (HOST, unit.page))
        unit.listen(socket.AF_UNIX, str(unit.path))
        yield unit
        for sock in unit.sockets:
            sock.close()


async def ask_page(unit: Unit) -> bytes:
    visitor = await unit.net.dial(unit.page)
    await visitor.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return await visitor.receive_all()


async def test_the_server_uses_all_sockets_and_leaves_them_open(unit: Unit) -> None:
    early = await unit.net.dial(unit.port)  # before the server has been started
    await early.send(b"early")
    server = await unit.server()
    await unit.net.client(unit.bind)
    assert await early.receive(5) == b"early"
    await echo(await unit.net.dial_path(unit.path), b"hello")
    assert b"\r\n\r\nconnected" in await ask_page(unit)
    assert unit.path.is_socket()
    unit.net.close_peers()
    server.signal(SIGTERM)
    assert await server.ended() == 0
    assert "of the service manager" not in server.text
    late, later = await unit.net.dial(unit.port), await unit.net.dial_path(unit.path)
    await asyncio.gather(late.send(b"late"), later.send(b"later"))
    await unit.server()
    assert await late.receive(4) == b"late"
    assert await later.receive(5) == b"later"


async def test_a_socket_that_matches_nothing_is_named_once(unit: Unit) -> None:
    other, path = free_port(), unit.folder / "other"
    unit.listen(socket.AF_INET, (HOST, other))
    unit.listen(socket.AF_UNIX, str(path))
    server = await unit.server()
    line = next(line for line in server.lines if "of the service manager" in line)
    assert f"{HOST}:{other}, unix:{path} of the service manager: not in the configuration, closed" in line
    server.signal(SIGHUP)
    await server.line("configuration reloaded")
    assert server.text.count("of the service manager") == 1


async def test_the_page_can_be_opened_again(unit: Unit) -> None:
    server = await unit.server()
    unit.file.write_text(unit.file.read_text() + 'metrics = ["prometheus"]\n')
    await server.line("monitoring page on")
    assert b"not connected" in await ask_page(unit)
