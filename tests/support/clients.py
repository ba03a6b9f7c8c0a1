"""Several clients of one server."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from backhaul.config import ServerConfig
from backhaul.config.loader import parse

from .net import HOST, Peer, free_port, until
from .tunnel import LINES, Net

if TYPE_CHECKING:
    from backhaul.client import Client
    from backhaul.server import Server


def token_of(name: str) -> str:
    """Return the token of a client, as `backhaul token` would make it."""
    return f"bh1_{name:a<43}"


def table(name: str, ports: Iterable[str] = (), lines: str = "") -> str:
    """Return the table of a client."""
    mappings = ", ".join(f'"{mapping}"' for mapping in ports)
    token = "" if "token" in lines else f'token = "{token_of(name)}"\n'
    return f"[server.clients.{name}]\n{token}ports = [{mappings}]\n{lines}\n"


def config_of(transport: str, bind_port: int, tables: str, lines: str = "") -> ServerConfig:
    """Read the configuration of a server with these clients."""
    head = f'[server]\nbind_addr = "{HOST}:{bind_port}"\ntransport = "{transport}"\n'
    config = parse(f"{head}{LINES[transport].server}\n{lines}\n{tables}")
    assert isinstance(config, ServerConfig)
    return config


class Company:
    """A server, and clients with names, each with a port that leads to a service of its own."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.bind_port = free_port()
        self.ports: dict[str, int] = {}
        self.targets: dict[str, int] = {}
        self.clients: dict[str, Client] = {}
        self.server: Server

    async def start(self, names: Iterable[str], lines: str = "", own: Mapping[str, str] | None = None) -> None:
        """Start the server and all clients; ``own`` holds more lines of a client's table."""
        await self.open(names, lines, own)
        for name in self.ports:
            await self.connect(name)

    async def open(self, names: Iterable[str], lines: str = "", own: Mapping[str, str] | None = None) -> None:
        """Start the server, and the services of the clients."""
        for name in names:
            self.ports[name] = free_port()
            self.targets[name] = await self.net.echo(greeting=name.encode())
        self.server = await self.net.run(self.config(lines, own or {}))

    def config(self, lines: str = "", own: Mapping[str, str] | None = None) -> ServerConfig:
        """Return the configuration of the server."""
        tables = [
            table(name, [f"{HOST}:{port}={self.targets[name]}"], (own or {}).get(name, ""))
            for name, port in self.ports.items()
        ]
        return config_of(self.net.transport, self.bind_port, "".join(tables), lines)

    async def connect(self, name: str, lines: str = "", *, port: int = 0) -> "Client":
        """Start a client and wait until it is connected; a stop of it does not wait for its users."""
        lines = f'token = "{token_of(name)}"\n{lines}'
        client = await self.net.client(port or self.bind_port, lines, connection_pool=1, shutdown_timeout=0)
        self.clients[name] = client
        await until(lambda: self.server.tunnels[name].connected and client.tunnel.connected)
        return client

    async def user(self, name: str) -> Peer:
        """Connect a user to the port of a client, whose own service must answer."""
        user = await self.net.dial(self.ports[name])
        await ask(user, name)
        return user


async def ask(user: Peer, name: str) -> None:
    """Send a byte, which the service of the client answers; the user stays connected."""
    await user.send(b"?")
    assert await user.receive(len(name) + 1) == f"{name}?".encode()
