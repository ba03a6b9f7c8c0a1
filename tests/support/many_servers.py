"""Four servers behind a name, three clients that are connected to all of them, and users of each; servers come and go.

A test runs it, in a separate network in which dnsmasq answers from a file of hosts: the first argument.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop
from tests.support.net import Peer, Sockets, echo, until
from tests.support.program import Program
from tests.support.targets import Service
from tests.support.tunnel import SETTLED, client_config

from backhaul.client import Client
from backhaul.system.token import PREFIX
from backhaul.tunnel.timings import Timings

NAME: Final = "servers.example"
CLIENTS: Final = ("a", "b", "c")
TARGET, TUNNEL, PAGE = 7000, 3080, 2060
THINKING: Final = 0.05  # seconds of a user between an answer and the next question
USER_PORTS: Final = dict(zip(CLIENTS, (8001, 8002, 8003), strict=True))


def host(number: int) -> str:
    return f"127.0.0.{number}"


def token(client: str) -> str:
    """Return a token of the form that needs no costly derivation of its key."""
    return PREFIX + 43 * client


class Users:
    """Users of every client on one server, each of whom talks to the target all the time."""

    def __init__(self, number: int, sockets: Sockets) -> None:
        self._host = host(number)
        self._sockets = sockets
        self._tasks: list[asyncio.Task[bool]] = []
        self._leave = asyncio.Event()
        self.answers = 0

    async def come(self, server: Program) -> None:
        """Connect two users of each client, whose ports open when the server has noticed them."""
        for _ in CLIENTS:
            await server.line("tunnel of client")
        for port in [*USER_PORTS.values()] * 2:
            peer = await self._sockets.dial(port, self._host)
            await echo(peer, b"hello")
            self._tasks.append(asyncio.create_task(self._talk(peer)))

    async def _talk(self, peer: Peer) -> bool:
        """Return whether the user was lost before they left."""
        with contextlib.suppress(OSError, EOFError):
            while not self._leave.is_set():
                await echo(peer, os.urandom(512))
                self.answers += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._leave.wait(), THINKING)
            peer.shut_write()
            return bool(await peer.receive_all())
        return True

    @property
    def lost(self) -> int:
        """The users who have been lost so far."""
        return sum(task.done() and task.result() for task in self._tasks)

    async def go_on(self) -> None:
        """Wait for further answers."""
        before = self.answers
        await until(lambda: self.answers >= before + 50)

    async def leave(self) -> None:
        """Let all of them end their connections in order."""
        self._leave.set()
        await asyncio.gather(*self._tasks)


async def start_server(servers: dict[int, Program], number: int, folder: Path) -> None:
    """Add a server with all clients."""
    text = f'[server]\nbind_addr = "{host(number)}:{TUNNEL}"\ntransport = "tcpmux"\nsecurity = "required"\n'
    text += f'skip_optz = true\nshutdown_timeout = 20\nweb_bind = "{host(number)}"\nweb_port = {PAGE}\n'
    for client, port in USER_PORTS.items():
        text += f'[server.clients.{client}]\ntoken = "{token(client)}"\nports = ["{host(number)}:{port}={TARGET}"]\n'
    file = folder / f"server{number}.toml"
    file.write_text(text)
    servers[number] = await Program.start("-c", file)
    await servers[number].line("server listens on")


async def start_client(name: str) -> Client:
    """Start a client of all servers."""
    lines = f'token = "{token(name)}"\nsecurity = "required"'
    timings = replace(Timings(**SETTLED), names=0.2)
    client = Client(client_config("tcpmux", f"all:{NAME}:{TUNNEL}", lines), timings=timings)
    await client.start()
    return client


async def is_ready(number: int, sockets: Sockets) -> bool:
    """Return a server's answer to its load balancer."""
    peer = await sockets.dial(PAGE, host(number))
    await peer.send(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return b" 200 " in (await peer.receive_all()).partition(b"\r\n")[0]


class Names:
    """The name server."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process: asyncio.subprocess.Process | None = None

    async def publish(self, *numbers: int) -> None:
        """Let the name have the addresses of these servers."""
        self._file.write_text("".join(f"{host(number)} {NAME}\n" for number in numbers))
        if self._process:
            self._process.send_signal(signal.SIGHUP)
            return
        program = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
        options = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file"]
        options += [f"--addn-hosts={self._file}", "--listen-address=127.0.0.1", "--bind-interfaces", "--user=root"]
        self._process = await asyncio.create_subprocess_exec(program, *options)

    async def stop(self) -> None:
        if self._process:
            self._process.terminate()
            await self._process.wait()


@contextlib.asynccontextmanager
async def stage(file: Path) -> AsyncIterator[tuple[Names, dict[int, Program], list[Client]]]:
    """Start target, name server, four servers and three clients, and wait until every server is connected to each."""
    service, names, clients = Service(b""), Names(file), list[Client]()
    servers: dict[int, Program] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"STATE_DIRECTORY": folder, "RUNTIME_DIRECTORY": folder}
        try:
            await service.start("127.0.0.1", TARGET)
            await names.publish(1, 2, 3, 4)
            for number in (1, 2, 3, 4):  # one by one: on a busy machine four at a time take too long
                await start_server(servers, number, file.parent)
            clients += [await start_client(name) for name in CLIENTS]
            await until(lambda: all(len(connected(client)) == len(servers) for client in clients))
            yield names, servers, clients
        finally:
            for client in clients:
                await client.stop()
            for server in servers.values():
                await server.kill()
            await names.stop()
            await service.stop()


def connected(client: Client) -> list[str]:
    """Return the addresses of the servers to which a client is connected."""
    return [server.name.rpartition(":")[0] for server in client.state().servers if server.session.connected]


async def main(file: Path) -> None:
    """Print a line for each step."""
    sockets = Sockets()
    async with stage(file) as (names, servers, clients):
        users = {number: Users(number, sockets) for number in servers}
        await asyncio.gather(*(users[number].come(server) for number, server in servers.items()))
        print("ready", *[await is_ready(number, sockets) for number in sorted(servers)])  # noqa: T201

        await servers[2].kill()
        await until(lambda: users[2].lost == 6)
        await asyncio.gather(*(users[number].go_on() for number in (1, 3, 4)))
        print("killed, lost", *[users[number].lost for number in sorted(users)])  # noqa: T201

        await names.publish(1, 3, 4, 5)
        await start_server(servers, 5, file.parent)
        users[5] = Users(5, sockets)
        await until(lambda: all(host(5) in connected(client) for client in clients))
        await users[5].come(servers[5])
        print("added, ready", await is_ready(5, sockets))  # noqa: T201

        await names.publish(1, 4, 5)
        drain = await Program.start("drain", "-c", file.parent / "server3.toml", "--wait")
        await drain.line("draining")
        print("drained, ready", await is_ready(3, sockets))  # noqa: T201
        await users[3].go_on()
        await users[3].leave()
        print("drained with", await drain.ended())  # noqa: T201
        servers[3].signal(signal.SIGTERM)
        print("stopped with", await servers[3].ended())  # noqa: T201
        await asyncio.gather(*(users[number].go_on() for number in (1, 4, 5)))
        for number in (1, 4, 5):
            await users[number].leave()
        print("lost", *[users[number].lost for number in sorted(users)])  # noqa: T201


uvloop.run(main(Path(sys.argv[1])))
