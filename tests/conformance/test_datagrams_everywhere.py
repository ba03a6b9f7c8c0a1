"""accept_udp with this program on both ends: datagrams reach the target on every stream transport, and return."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.net import HOST, PATIENCE
from tests.support.tunnel import Net

SIZES = (1, 1200, 9000, 65507)


class _Echo(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, (HOST, 0))
    yield transport.get_extra_info("sockname")[1]
    transport.close()


async def _ask(user: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    user.send(data)
    answer: asyncio.Future[bytes] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(user)
        answer.set_result(user.recv(1 << 16))

    loop.add_reader(user, readable)
    try:
        async with asyncio.timeout(PATIENCE):
            return await answer
    finally:
        loop.remove_reader(user)


async def test_datagrams_of_every_size_come_back(any_net: Net, echo: int) -> None:
    tunnel = await any_net.tunnel(f"{HOST}:{echo}", server="accept_udp = true")
    users = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    try:
        for user in users:
            user.setblocking(False)
            user.connect((HOST, tunnel.ports[0]))
        for size in SIZES:
            for number, user in enumerate(users):
                data = bytes([number]) * size
                assert await _ask(user, data) == data
        assert len(tunnel.server.relay.flows) == len(users)
    finally:
        for user in users:
            user.close()
