"""The smallest and the largest datagrams: each arrives as one, in both directions, encrypted or not."""

from collections.abc import AsyncIterator

import pytest
from tests.support.datagrams import FLOWS, UdpNet, UdpPeer
from tests.support.tunnel import LEGACY

from backhaul.security.datagrams import OVERHEAD
from backhaul.wire.datagrams import MAX_PAYLOAD

FORMS = {"clear": "", "encrypted": "encryption = true", "legacy": LEGACY}
CASES = [(name, form) for name in FLOWS for form in FORMS if form != "legacy" or name in {"udp", "tcp"}]

LARGEST = {("udp", "encrypted"): MAX_PAYLOAD - OVERHEAD, ("tcp", "legacy"): 16378}  # v0.7.2 takes no larger ones


class Sizes:
    """A flow whose target a test plays."""

    user: UdpPeer

    def __init__(self, net: UdpNet, form: str) -> None:
        self.net, self.form = net, form
        self.target = net.udp()
        self.largest = LARGEST.get((net.transport, form), MAX_PAYLOAD)

    async def start(self) -> None:
        """Start both ends."""
        lines = FORMS[self.form]
        tunnel = await self.net.flows(self.target.port, server=lines, client=LEGACY if self.form == "legacy" else "")
        self.user = self.net.udp(tunnel.ports[0])

    async def pass_both_ways(self, data: bytes) -> None:
        """Assert that a datagram arrives as it is, and so does the same one as the answer."""
        self.user.send(data)
        received, flow = await self.target.receive_from()
        assert received == data
        self.target.send(data, flow)
        assert await self.user.receive() == data


@pytest.fixture(params=CASES, ids="-".join)
async def sizes(request: pytest.FixtureRequest) -> AsyncIterator[Sizes]:
    """Provide a flow on every transport, in every form."""
    transport, form = request.param
    async with UdpNet(transport) as net:
        sizes = Sizes(net, form)
        await sizes.start()
        yield sizes


async def test_each_datagram_arrives_as_one(sizes: Sizes) -> None:
    for size in (1, 0, sizes.largest, 0, 0, sizes.largest, 1200):
        await sizes.pass_both_ways(bytes([size % 251]) * size)


@pytest.mark.parametrize("first", ["empty", "largest"])
async def test_the_first_datagram_of_a_flow_may_have_any_size(sizes: Sizes, first: str) -> None:
    await sizes.pass_both_ways(bytes(sizes.largest if first == "largest" else 0))
    await sizes.pass_both_ways(b"another one")


async def test_several_empty_datagrams_at_once_stay_apart(sizes: Sizes) -> None:
    batch = [b"x", b"", b"", b"y", b""]
    for data in batch:
        sizes.user.send(data)
    heard = [await sizes.target.receive_from() for _ in batch]
    assert [data for data, _ in heard] == batch
    for data, flow in heard:
        sizes.target.send(data, flow)
    assert [await sizes.user.receive() for _ in batch] == batch
