"""Plain sockets in front of TLS connections: bulk, both ends, resets, and the end of all bridges."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.net import HOST, Peer, fill, until, until_reset
from tests.support.tunnel import Net

from backhaul.net.bridge import Bridges
from backhaul.net.pollers import make_poller
from backhaul.net.tls import ClientContext, ClientTls, shake_hands

pytestmark = pytest.mark.both_loops


class Site:
    """A server over TLS, and bridges to it."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.poller = make_poller()
        self.bridges = Bridges()
        self.peers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.port = 0

    async def bridge(self, received: bytes = b"") -> Peer:
        """Connect, and return the plain socket."""
        peer = await self.net.dial(self.port)
        results: list[object] = []
        tls = ClientContext(ClientTls(HOST)).wrap(peer.sock)
        shake_hands(self.poller, tls, results.append)
        await until(lambda: results and self.peers)
        return self.net.keep(Peer(self.bridges.build(self.poller, tls, received)))


@pytest.fixture
async def site(net: Net) -> AsyncIterator[Site]:
    site, context = Site(net), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    server = await asyncio.start_server(lambda *peer: site.peers.append(peer), HOST, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    site.bridges.close()
    site.poller.close()
    server.close()
    for _, writer in site.peers:
        writer.transport.abort()
    await server.wait_closed()


async def test_bulk_in_both_directions_waits_for_room(site: Site) -> None:
    user = await site.bridge()
    ((reader, writer),) = site.peers
    sent = await fill(user)
    assert len(await reader.readexactly(sent)) == sent
    data = bytes(range(256)) * (1 << 14)
    writer.write(data)
    assert await user.receive(len(data)) == data


async def test_bytes_that_were_read_before_come_first(site: Site) -> None:
    user = await site.bridge(b"first ")
    site.peers[0][1].write(b"second")
    assert await user.receive(12) == b"first second"


async def test_an_end_leaves_the_other_direction_open(site: Site) -> None:
    user = await site.bridge()
    ((reader, writer),) = site.peers
    await user.send(b"question")
    assert await reader.readexactly(8) == b"question"
    writer.write(b"answer")
    writer.close()
    assert await user.receive_all() == b"answer"
    assert len(site.bridges) == 1
    user.close()
    await until(lambda: not site.bridges)


async def test_the_end_of_the_caller_is_passed_on(site: Site) -> None:
    user = await site.bridge()
    ((reader, _),) = site.peers
    await user.send(b"question")
    user.shut_write()
    assert await reader.read() == b"question"


async def test_a_reset_by_the_caller_ends_the_bridge(site: Site) -> None:
    user = await site.bridge()
    ((reader, _),) = site.peers
    user.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert not site.bridges


async def test_the_end_of_all_bridges_is_a_reset(site: Site) -> None:
    user = await site.bridge()
    site.bridges.close()
    assert not site.bridges
    assert await until_reset(user) == b""
