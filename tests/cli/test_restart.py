"""Restarts of the server that no user notices, with a second process beside the first or with a service manager."""

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from signal import SIGTERM

import pytest
from tests.support.net import HOST, PATIENCE, echo, free_port, until
from tests.support.program import TOKEN, Program, passing
from tests.support.tunnel import Net

from backhaul.system.status_socket import socket_path, stopping

_EVERY = 0.025  # seconds between short users
_ROWS = 3  # of short users on each port


class Restarts:
    """A client that keeps running, and one server after the other."""

    def __init__(self, folder: Path, net: Net, target: int) -> None:
        self.net = net
        self.port, bind = free_port(), free_port()
        common = f'transport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\nshutdown_timeout = 60\n'
        self._server, self._client = folder / "server.toml", folder / "client.toml"
        self.path = folder / "app.sock"
        mappings = f'ports = ["{HOST}:{self.port}={target}", "unix:{self.path}={target}"]'
        self._server.write_text(f'[server]\nbind_addr = "{HOST}:{bind}"\n{mappings}\n{common}')
        self._client.write_text(f'[client]\nremote_addr = "{HOST}:{bind}"\nretry_interval = 1\n{common}')
        self.programs = contextlib.AsyncExitStack()

    async def server(self, *wrapper: str, inherit: tuple[int, ...] = ()) -> Program:
        """Start a server; return when it listens for the client."""
        program = await Program.start("-c", self._server, wrapper=wrapper, inherit=inherit)
        self.programs.push_async_callback(program.kill)
        await program.line("listens on")
        return program

    def stopping(self) -> bool:
        """Return whether the server reports that it is stopping."""
        return stopping(socket_path(self._server))

    async def client(self, server: Program) -> None:
        """Start the client; return when it is connected, and ``server`` admits users."""
        program = await Program.start("-c", self._client)
        self.programs.push_async_callback(program.kill)
        await program.line("tunnel is up")
        await server.line("tunnel is up")

    async def short_users(self, enough: asyncio.Event) -> int:
        """Let users come and go until there are enough; return their number. Fails with the first who is lost.

        Each waits for the one before it, of whom there are a few: a slow machine would have ever more at a time.
        """
        async with asyncio.TaskGroup() as group:
            rows = [group.create_task(self._row(user, enough)) for user in _ROWS * (self._user, self._local_user)]
        return sum(row.result() for row in rows)

    async def _row(self, user: Callable[[], Awaitable[None]], enough: asyncio.Event) -> int:
        count = 0
        while not enough.is_set():
            await user()
            count += 1
            await asyncio.sleep(_EVERY)
        return count

    async def _user(self) -> None:
        user = await self.net.dial(self.port)
        await echo(user, b"hello")
        user.close()

    async def _local_user(self) -> None:
        user = await self.net.dial_path(self.path)
        await echo(user, b"hello")
        user.close()


@pytest.fixture
async def restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Restarts]:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    async with Net("tcp") as net:
        restarts = Restarts(tmp_path, net, await net.echo())
        async with restarts.programs:
            yield restarts


async def test_no_user_is_lost_when_another_process_takes_over(restarts: Restarts) -> None:
    server = await restarts.server()
    await restarts.client(server)
    long = await restarts.net.dial(restarts.port)
    await echo(long, b"before")
    enough = asyncio.Event()
    users = asyncio.ensure_future(restarts.short_users(enough))
    for _ in range(2):
        server.signal(SIGTERM)
        await server.line("stopping")
        successor = await restarts.server()
        await successor.line("tunnel is up")
        await echo(long, b"still here")
        long.close()
        assert await server.ended() == 0
        server, long = successor, await restarts.net.dial(restarts.port)
        await echo(long, b"before")
    enough.set()
    assert await users > 10


async def test_two_servers_on_one_port_are_still_refused(restarts: Restarts) -> None:
    await restarts.server()
    with pytest.raises(EOFError, match="address already in use"):
        await restarts.server()


class Manager:
    """A service manager's end: it keeps the sockets of a server, and starts the next one with them."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(PATIENCE)
        self._sock.bind(str(self._path))
        self.kept: list[int] = []
        self._names: list[str] = []

    @property
    def wrapper(self) -> tuple[str, ...]:
        """The environment that points a program to this manager."""
        return passing(self.kept, self._names, f"NOTIFY_SOCKET={self._path} FDSTORE=16")

    async def ready(self) -> None:
        """Return when the program is ready; all its sockets are here by then."""
        message = b""
        while b"READY=1" not in message:
            message, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, self._sock, 4096, 4)
            self.kept += descriptors
            self._names += re.findall(r"FDNAME=(.*)", message.decode()) if descriptors else []

    def close(self) -> None:
        """Close the sockets, as for a stop without a restart."""
        self._sock.close()
        for descriptor in self.kept:
            os.close(descriptor)


async def test_users_wait_in_sockets_kept_by_the_service_manager(restarts: Restarts, tmp_path: Path) -> None:
    with contextlib.closing(Manager(tmp_path)) as manager:
        server = await restarts.server(*manager.wrapper)
        await manager.ready()
        assert len(manager.kept) == 3
        await restarts.client(server)
        long = await restarts.net.dial(restarts.port)
        await echo(long, b"before")
        server.signal(SIGTERM)
        await until(restarts.stopping)
        early = await restarts.net.dial(restarts.port)
        await echo(early, b"served still")
        await echo(long, b"still here")
        long.close()
        early.close()
        assert await server.ended() == 0
        late = await restarts.net.dial(restarts.port)  # no server runs: the kernel accepts
        later = await restarts.net.dial_path(restarts.path)
        await late.send(b"late")
        await later.send(b"later")
        await restarts.server(*manager.wrapper, inherit=tuple(manager.kept))
        assert await late.receive(4) == b"late"
        assert await later.receive(5) == b"later"
