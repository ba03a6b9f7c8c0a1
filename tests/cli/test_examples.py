"""Every example is a sound configuration, and its two files make a tunnel."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace
from tests.support.net import HOST, PATIENCE, free_port, until
from tests.support.tunnel import NO_WAIT, Net

from backhaul.client import Client
from backhaul.config import Address, ClientConfig, PortMapping, ServerConfig
from backhaul.config.keys import ALL, TLS
from backhaul.config.loader import parse
from backhaul.server import Server
from backhaul.system import certificate

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Example:
    """Both files of a transport, completed as their comments ask for."""

    server: ServerConfig
    client: ClientConfig


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Example:
    folder = EXAMPLES / request.param
    texts = {side: (folder / f"{side}.toml").read_text() for side in ("server", "client")}
    if request.param in TLS:
        pair = certificate.make(["tunnel.example.com"], 1, datetime.now(UTC))
        certificate.write(pair, tmp_path, force=False)
        texts["server"] = texts["server"].replace("/etc/backhaul/", f"{tmp_path}/")
        pin = f'tls_fingerprint = "{pair.fingerprint}"'
        texts["client"], count = re.subn(r'^# tls_fingerprint = "…"$', pin, texts["client"], flags=re.MULTILINE)
        assert count == 1
    server, client = parse(texts["server"]), parse(texts["client"])
    assert isinstance(server, ServerConfig)
    assert isinstance(client, ClientConfig)
    return Example(server, client)


every_example = pytest.mark.parametrize("example", ALL, indirect=True)


def test_every_transport_has_an_example() -> None:
    assert {path.name for path in EXAMPLES.iterdir()} == set(ALL)


@every_example
def test_both_files_fit_together(example: Example, request: pytest.FixtureRequest) -> None:
    server, client = example.server, example.client
    assert server.transport == client.transport == request.node.callspec.params["example"]
    assert server.token == client.token
    assert server.bind_addr.port == client.remote_addr.port
    for end in (server, client):  # the rest is for the reader to decide
        assert {warning.partition(":")[0] for warning in end.warnings} <= {"token", "security"}


@every_example
async def test_both_files_make_a_tunnel(example: Example, net: Net) -> None:
    """Only addresses are replaced by those of this machine, and one port of each mapping stays."""
    assert example.server.ports
    if example.server.transport == "udp":
        async with udp_echo() as target, running(example, target) as ports:
            answers = [await ask_by_udp(port, b"ping") for port in ports]
    else:
        async with running(example, await net.echo()) as ports:
            answers = [await ask_by_tcp(net, port, b"ping") for port in ports]
    assert answers == [b"ping"] * len(example.server.ports)


@pytest.mark.parametrize("example", ["tcp"], indirect=True)
async def test_the_udp_example_serves_udp_users(example: Example, net: Net) -> None:
    assert example.server.accept_udp
    async with udp_echo() as target, running(example, target) as ports:
        assert await ask_by_udp(ports[0], b"ping") == b"ping"


@asynccontextmanager
async def running(example: Example, target: int) -> AsyncIterator[Sequence[int]]:
    """Run both ends on free ports of the loopback, and yield the users' ports, which all lead to ``target``."""
    bind_port = free_port()
    ports = [free_port() for _ in example.server.ports]
    mappings = tuple(PortMapping(HOST, port, f"{HOST}:{target}") for port in ports)
    bind, remote = Address(HOST, bind_port), Address(HOST, bind_port)
    server = Server(replace(example.server, bind_addr=bind, ports=mappings), NO_WAIT)
    client = Client(replace(example.client, remote_addr=remote))
    await server.start()
    try:
        await client.start()
        await until(lambda: server.tunnel.connected and client.tunnel.connected)
        yield ports
    finally:
        await client.stop()
        await server.stop()


async def ask_by_tcp(net: Net, port: int, question: bytes) -> bytes:
    user = await net.dial(port)
    await user.send(question)
    answer = await user.receive(len(question))
    user.close()
    return answer


class Datagrams(asyncio.DatagramProtocol):
    """Keeps the first datagram, or sends each one back."""

    def __init__(self, *, echo: bool) -> None:
        self._echo = echo
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self._echo:
            self._transport.sendto(data, cast("tuple[str, int]", addr))
        elif not self.first.done():
            self.first.set_result(data)


@asynccontextmanager
async def udp_echo() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(echo=True), local_addr=(HOST, 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def ask_by_udp(port: int, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, user = await loop.create_datagram_endpoint(lambda: Datagrams(echo=False), remote_addr=(HOST, port))
    try:
        transport.sendto(question)
        async with asyncio.timeout(PATIENCE):
            return await user.first
    finally:
        transport.close()
