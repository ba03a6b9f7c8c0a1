"""Many clients in several processes, and the users of each, which no other client sees."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
from tests.support.clients import config_of, table, token_of
from tests.support.crowd import TARGET
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.server import Server

USERS: Final = int(os.environ.get("BACKHAUL_TEST_USERS", "4"))  # of each client; half of them come by the group
CLIENTS, PROCESSES, AT_A_TIME = 50, 2, 100


@asynccontextmanager
async def crowd(transport: str, bind_port: int, target: int) -> AsyncIterator[None]:
    """Run all clients while the block runs."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = []
    for first in range(PROCESSES):
        numbers = map(str, range(first, CLIENTS, PROCESSES))
        words = (sys.executable, "-m", "tests.support.crowd", transport, str(bind_port), str(target), *numbers)
        pipe = asyncio.subprocess.PIPE
        processes.append(await asyncio.create_subprocess_exec(*words, env=environment, stdin=pipe, stdout=pipe))
    try:
        for process in processes:
            assert process.stdout
            assert await process.stdout.readline() == b"connected\n"
        yield
    finally:
        for process in processes:
            assert process.stdin
            process.stdin.close()
        await asyncio.gather(*(process.wait() for process in processes))


class Users:
    """Users who have been answered; each sends a unique name."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._count = 0
        self.served: dict[tuple[int, int], str] = {}
        """The names of the clients that answered, by both ports of a connection."""

    async def come(self, ports: list[int]) -> list[str]:
        """Connect a user to each of these ports; return the names of the clients that have answered."""
        served: list[str] = []
        for some in (ports[start : start + AT_A_TIME] for start in range(0, len(ports), AT_A_TIME)):
            served += await asyncio.gather(*map(self._one, some))
        return served

    async def _one(self, port: int) -> str:
        self._count += 1
        word = f"user-{self._count}\n".encode()
        user = await self._net.dial(port)
        await user.send(word)
        client, _, rest = (await line_of(user)).partition(b" ")
        assert rest == word
        self.served[user.sock.getsockname()[1], port] = client.decode()
        return client.decode()


async def line_of(user: Peer) -> bytes:
    """Return the next line, and assert that nothing follows."""
    line = b""
    while not line.endswith(b"\n"):
        line += await user.receive_some()
    assert line.count(b"\n") == 1
    return line


def clients_of(server: Server) -> dict[tuple[int, int], str]:
    """Return the names of the clients that serve the users in flight, by both ports of a connection."""
    return {(user.port, user.bind_port): user.client for user in server.users()}


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_each_of_fifty_clients_gets_its_own_users_only(transport: str) -> None:
    """Half of the users come to ports of one client each, and half to a port of all, on each client's own machine."""
    names = [f"client-{number}" for number in range(CLIENTS)]
    ports = {free_port(): name for name in names}
    bind_port, target, shared = free_port(), free_port(), free_port()
    tables = "".join(table(name, [f"{HOST}:{port}={TARGET}:{target}"]) for port, name in ports.items())
    members = ", ".join(f'"{name}"' for name in names)
    group = f'[server.groups.all]\nports = ["{HOST}:{shared}={TARGET}:{target}"]\nclients = [{members}]\n'
    async with Net(transport) as net:
        server = await net.run(config_of(transport, bind_port, tables + group, "channel_size = 20000"))
        stranger = await net.client(bind_port, f'token = "{token_of("client-50")}"')
        async with crowd(transport, bind_port, target):
            users, half = Users(net), USERS // 2
            own = list(ports) * half
            assert await users.come(own) == [ports[port] for port in own]
            assert Counter(await users.come([shared] * half * CLIENTS)) == dict.fromkeys(names, half)
            assert clients_of(server) == users.served
            assert [client.users for client in server.state().clients] == [2 * half] * CLIENTS
            net.close_peers()
            await until(lambda: not server.relay.busy, patience=30 + USERS)
        assert not stranger.tunnel.opened
