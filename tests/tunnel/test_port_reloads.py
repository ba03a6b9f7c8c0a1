"""Reloads from any layout of a port to any other: what listens then is what a fresh start would open."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import combinations, permutations, product
from typing import NamedTuple

import pytest
from tests.support.clients import config_of, table, token_of
from tests.support.net import HOST, free_port, is_free
from tests.support.tunnel import Net

from backhaul.config import ConfigError, ServerConfig
from backhaul.config.diff import diff
from backhaul.config.kinds import kinds_of

OTHER = "127.0.0.3"
OWNERS = ("", "web", "group")
TOKEN = f'token = "{token_of("")}"\n'


class Entry(NamedTuple):
    """An entry of ``ports``, without the number of the port."""

    owner: str
    host: str
    protocol: str


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with Net("tcp") as net:
        yield net


def layouts(bind_port: int, port: int) -> Iterator[ServerConfig]:
    """Yield configurations in which two entries share a number."""
    entries = [Entry(*each) for each in product(OWNERS, ("", f"{HOST}:"), ("", "/tcp", "/udp"))]
    for number, pair in enumerate(combinations(entries, 2)):
        with contextlib.suppress(ConfigError):
            yield layout(bind_port, port, pair, accept_udp=number % 3 == 0)


def layout(bind_port: int, port: int, entries: tuple[Entry, ...], *, accept_udp: bool) -> ServerConfig:
    """Return the configuration of a server with these entries."""

    def of(owner: str) -> list[str]:
        return [f"{one.host}{port}{one.protocol}=1" for one in entries if one.owner == owner]

    tables = table("web", of("web")) + table("game")
    tables += f'[server.groups.all]\nclients = ["web", "game"]\nports = {of("group")}\n'
    return config_of("tcp", bind_port, tables, f"{TOKEN}ports = {of('')}\naccept_udp = {str(accept_udp).lower()}")


def wanted(config: ServerConfig) -> set[tuple[socket.SocketKind, str]]:
    """Return the kinds and addresses that the ports of a configuration occupy."""
    kinds = kinds_of(config)
    spots = ((kind, one.bind_host) for one in config.all_ports for kind in kinds.of(one))
    return {(kind, each) for kind, host in spots for each in ([host] if host else [HOST, OTHER])}


def occupied(port: int) -> set[tuple[socket.SocketKind, str]]:
    """Return the kinds and addresses for which something listens on a port."""
    every = product((socket.SOCK_STREAM, socket.SOCK_DGRAM), (HOST, OTHER))
    return {(kind, host) for kind, host in every if not is_free(host, port, kind)}


async def test_no_order_of_layouts_leaves_a_port_down(net: Net) -> None:
    port, bind_port = free_port(), free_port()
    every = list(layouts(bind_port, port))
    server = await net.run(every[0])
    wrong = []
    for before, after in permutations(every, 2):
        for config in (before, after):
            await server.reconfigure(config, diff(server.config, config))
        if occupied(port) != wanted(after) or server.missing_sockets():
            wrong.append((before.all_ports, after.all_ports))
    assert not wrong
