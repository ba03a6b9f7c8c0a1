"""Several clients of one server on transport udp."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Final

from backhaul.client import Client
from backhaul.config import ServerConfig
from backhaul.config.diff import diff
from backhaul.server import Server

from .clients import config_of, table, token_of
from .datagrams import UdpNet, UdpPeer, repeat
from .net import HOST, free_port, until

_QUESTIONS: Final = itertools.count()


async def insist(user: UdpPeer, answer: bytes = b"echo:") -> None:
    """Ask until ``answer`` and the question arrive, because datagrams may be lost; a late answer is to another one."""
    question = b"%d" % next(_QUESTIONS)
    await repeat(lambda: user.send(question), lambda: (answer + question, user.sock.getpeername()) in user.heard)
    user.heard.clear()


class UdpCompany:
    """A server, and clients with names, each with a port that leads to an echo of its own, which sends its name."""

    server: Server

    def __init__(self, net: UdpNet, lines: str = "") -> None:
        """``lines`` are more of the server's configuration."""
        self.net = net
        self.lines = lines
        self.bind_port = free_port()
        self.ports: dict[str, int] = {}
        self.targets: dict[str, UdpPeer] = {}
        self.clients: dict[str, Client] = {}

    async def start(self, names: Iterable[str], own: Mapping[str, str] | None = None) -> None:
        """Start the server and all clients; ``own`` holds more lines of a client's file."""
        for name in names:
            self.add(name)
        self.server = await self.net.run(self.config())
        for name in self.ports:
            await self.connect(name, (own or {}).get(name, ""))

    def add(self, name: str) -> None:
        """Have a client in the configuration from now on."""

        def answer(data: bytes, address: object) -> None:
            self.targets[name].send(name.encode() + b":" + data, address)

        self.ports[name] = free_port()
        self.targets[name] = self.net.udp(heard=answer)

    def config(self, own: Mapping[str, str] | None = None) -> ServerConfig:
        """Return the configuration of the server; ``own`` holds more lines of a client's table."""
        tables = [
            table(name, [f"{HOST}:{port}={self.targets[name].port}"], (own or {}).get(name, ""))
            for name, port in self.ports.items()
        ]
        return config_of("udp", self.bind_port, "".join(tables), self.lines)

    async def reload(self, config: ServerConfig) -> None:
        """Use another configuration."""
        await self.server.reconfigure(config, diff(self.server.config, config))

    async def connect(self, name: str, lines: str = "", remote_port: int = 0) -> Client:
        """Start a client, and wait until it is connected."""
        token = "" if "token" in lines else f'token = "{token_of(name)}"\n'
        client = await self.net.client(remote_port or self.bind_port, token + lines, connection_pool=1)
        self.clients[name] = client
        await self.connected(name)
        return client

    async def connected(self, name: str) -> None:
        """Wait until a client is connected."""
        await until(lambda: self.clients[name].tunnel.connected and self.server.tunnels[name].connected)

    def user(self, name: str) -> UdpPeer:
        """Return a user of a client's port."""
        return self.net.udp(self.ports[name])

    def idle(self, name: str) -> int:
        """Return the number of idle tunnels that the server knows of a client."""
        return self.server.tunnels[name].transport.idle
