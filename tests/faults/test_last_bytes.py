"""An end of the program that stops under load tells the other end what has happened to each user."""

import asyncio
import logging
import signal
from pathlib import Path

import pytest
from tests.support.net import HOST, Peer, free_port, until
from tests.support.program import Program
from tests.support.tunnel import BUILT, LINES, TOKEN, Net

USERS = 4
BULK = bytes(1 << 20)


def write(folder: Path, net: Net, end: str, lines: str) -> Path:
    """Write the configuration of an end that gives users no time at its stop."""
    file = folder / f"{end}.toml"
    file.write_text(
        f'[{end}]\ntransport = "{net.transport}"\ntoken = "{TOKEN}"\nskip_optz = true\nshutdown_timeout = 0\n{lines}\n'
    )
    return file


async def pour(near: Peer, far: Peer, moving: asyncio.Event) -> None:
    """Move bytes from one end of a tunnel to the other, until that breaks; set ``moving`` when they arrive."""

    async def send() -> None:
        while True:
            await near.send(BULK)

    async def receive() -> None:
        while await far.receive_some():
            moving.set()

    await asyncio.gather(send(), receive(), return_exceptions=True)


async def pouring(pairs: list[tuple[Peer, Peer]]) -> "asyncio.Future[list[None]]":
    """Pour through all of these, and return when all of them move; the future ends when all have broken."""
    moving = [asyncio.Event() for _ in pairs]
    loads = asyncio.gather(*(pour(*pair, event) for pair, event in zip(pairs, moving, strict=True)))
    await until(lambda: all(event.is_set() for event in moving))
    return loads


class Stage:
    """A tunnel with one end in another process, and users who receive from that end's side."""

    def __init__(self, net: Net, folder: Path) -> None:
        self._net = net
        self._folder = folder
        self._bind, self._port, self._listener = free_port(), free_port(), net.listen()
        self._ports = [f"{HOST}:{self._port}={self._listener.port}"]

    async def server(self) -> Program:
        """Start the server as a program, and a client here."""
        lines = f'bind_addr = "{HOST}:{self._bind}"\nports = {self._ports}\n{LINES[self._net.transport].server}'
        program = await Program.start("-c", write(self._folder, self._net, "server", lines))
        await program.line("server listens on")
        await self._net.client(self._bind)
        await program.line("tunnel is up")
        return program

    async def client(self) -> Program:
        """Start the client as a program, and a server here."""
        server = await self._net.server(self._bind, self._ports)
        lines = f'remote_addr = "{HOST}:{self._bind}"'
        program = await Program.start("-c", write(self._folder, self._net, "client", lines))
        await program.line("connected to")
        await until(lambda: server.tunnel.connected)
        return program

    async def user(self) -> tuple[Peer, Peer]:
        """Return a user and their connection to the target."""
        return await self._net.dial(self._port), await self._listener.accept()


@pytest.mark.parametrize("transport", BUILT)
async def test_a_server_that_stops(transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "backhaul")
    async with Net(transport) as net:
        stage = Stage(net, tmp_path)
        server = await stage.server()
        loads = await pouring([(target, user) for user, target in [await stage.user() for _ in range(USERS)]])
        server.signal(signal.SIGTERM)
        await server.ended()
        await loads
        await until(lambda: caplog.text.count("bytes to the user") == USERS)
    assert caplog.text.count("reset by the user") == USERS


@pytest.mark.parametrize("transport", BUILT)
async def test_a_client_that_stops(transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "backhaul")
    async with Net(transport) as net:
        stage = Stage(net, tmp_path)
        client = await stage.client()
        loads = await pouring([await stage.user() for _ in range(USERS)])
        client.signal(signal.SIGTERM)
        await client.ended()
        await loads
        await until(lambda: caplog.text.count("bytes to the user") == USERS)
    assert caplog.text.count("reset by the target") == USERS
