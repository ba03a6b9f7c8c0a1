"""The time limit of silent flows on each transport: datagrams in either direction put it off, on both ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.datagrams import UdpNet, UdpPeer
from tests.support.net import PATIENCE, until


@pytest.fixture(params=["udp", "tcp", "tcpmux", "wss"])
async def flow_net(request: pytest.FixtureRequest) -> AsyncIterator[UdpNet]:
    """Provide a transport for each way to carry flows."""
    async with UdpNet(request.param) as net:
        yield net


class OneWay:
    """A flow between a user and a target that answers nothing by itself."""

    user: UdpPeer
    address: Any  # of the flow, as the target sees it

    def __init__(self, net: UdpNet) -> None:
        self.net, self.target = net, net.udp()

    async def start(self) -> None:
        """Begin the flow with a request."""
        self.tunnel = await self.net.flows(self.target.port)
        self.user = self.net.udp(self.tunnel.ports[0])
        self.user.send(b"hello")
        _, self.address = await self.target.receive_from()
        self.tables = [end.relay.flows for end in (self.tunnel.server, self.tunnel.client)]

    async def request(self) -> None:
        """Send from the user to the target."""
        self.user.send(b"request")
        assert await self.target.receive() == b"request"

    async def answer(self) -> None:
        """Send from the target to the user."""
        self.target.send(b"answer", self.address)
        assert await self.user.receive() == b"answer"

    async def ends(self) -> None:
        """Wait until both ends have found the flow silent for too long."""
        for table in self.tables:
            table.bound(100, 0.01)
        await until(lambda: not any(map(len, self.tables)))


async def keeps_alive(flow: OneWay, act: Callable[[], Awaitable[None]]) -> None:
    """Assert that the time limit begins again on both ends with a datagram, to the grain of their clocks."""
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            before = now()
            while not all(table.last_used > before for table in flow.tables):
                await act()
            assert [len(table) for table in flow.tables] == [1, 1]


async def test_requests_alone_keep_a_flow_that_was_never_answered(flow_net: UdpNet) -> None:
    flow = OneWay(flow_net)
    await flow.start()
    await keeps_alive(flow, flow.request)
    await flow.ends()


async def test_requests_alone_keep_a_flow_that_was_answered(flow_net: UdpNet) -> None:
    flow = OneWay(flow_net)
    await flow.start()
    await flow.answer()
    await keeps_alive(flow, flow.request)
    await flow.ends()


async def test_answers_alone_keep_a_flow(flow_net: UdpNet) -> None:
    flow = OneWay(flow_net)
    await flow.start()
    await keeps_alive(flow, flow.answer)
    await flow.ends()
