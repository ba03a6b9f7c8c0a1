"""Requests of a server for tunnel connections, and users who arrive, by the thousand at once."""

import asyncio

import pytest
from tests.support.behind import Behind
from tests.support.names import Names
from tests.support.net import until
from tests.support.protected import ProtectedServer
from tests.support.tunnel import LEGACY, Net
from tests.support.v072 import HANDSHAKE

from backhaul.tunnel.requests import Requests
from backhaul.wire.messages import MAX_COUNT
from backhaul.wire.smux.frames import PSH, SYN, pack_frame
from backhaul.wire.strings import encode_string

DESCRIPTORS, A_QUARTER = 80, 20


class Counted:
    """Meets requests until there are enough."""

    def __init__(self, enough: int = MAX_COUNT) -> None:
        self.met = 0
        self._enough = enough

    def meet(self) -> bool:
        self.met += 1
        return self.met < self._enough


async def turns(count: int) -> None:
    """Let everything else run, in so many turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_others_have_their_turn_between_a_few_requests() -> None:
    counted = Counted()
    Requests(counted.meet).add(100)
    await turns(2)
    assert 0 < counted.met < 50
    await until(lambda: counted.met == 100)


async def test_a_refusal_drops_the_requests_that_wait() -> None:
    counted = Counted(enough=3)
    requests = Requests(counted.meet)
    requests.add(100)
    await turns(20)
    assert counted.met == 3
    requests.add(1)
    await turns(2)
    assert counted.met == 4


async def test_requests_add_up_to_those_of_one_message_at_most() -> None:
    counted = Counted()
    requests = Requests(counted.meet)
    for _ in range(3):
        requests.add(MAX_COUNT)
    await turns(10_000)
    assert counted.met == MAX_COUNT


async def test_dropped_requests_are_not_met() -> None:
    counted = Counted()
    requests = Requests(counted.meet)
    requests.add(100)
    requests.clear()
    await turns(20)
    requests.add(2)
    await turns(2)
    assert counted.met == 2


@pytest.mark.parametrize("transport", ["tcp", "tcpmux"])
async def test_the_largest_request_is_refused_once(net: Net, caplog: pytest.LogCaptureFixture, transport: str) -> None:
    net.transport = transport
    listener = net.listen()
    client = await net.client(listener.port, "connection_pool = 1", descriptors=DESCRIPTORS)
    control = await ProtectedServer().accept(await listener.accept())
    carriers = [await listener.accept()]
    await control.request(MAX_COUNT)
    while len(carriers) < A_QUARTER:
        carriers.append(await listener.accept())
    await until(lambda: "asks for more than 20 tunnel connections: refused" in caplog.text)
    carriers[0].close()
    await control.request(1)
    await listener.accept()
    assert "more in the last" not in caplog.text
    assert client.tunnel.connected


class TestArrivals:
    @staticmethod
    async def session(net: Net, names: Names) -> tuple[Behind, bytes]:
        """Return a client with one session, and the frames that open as many streams as targets may be dialled."""
        net.transport = "tcpmux"
        listener = net.listen()
        lines = f"{LEGACY}\nconnection_pool = 1"
        client = await net.client(listener.port, lines, names=names, descriptors=DESCRIPTORS)
        target = encode_string(b"silent.example:80")
        streams = range(3, 3 + 2 * A_QUARTER, 2)
        opened = b"".join(pack_frame(1, SYN, one) + pack_frame(1, PSH, one, target) for one in streams)
        return Behind(net, client, listener), opened

    async def test_others_have_their_turn_between_a_few_users(self, net: Net) -> None:
        names = Names()
        behind, opened = await self.session(net, names)
        await behind.handshake_with(HANDSHAKE)
        (carrier,) = await behind.carriers(1)
        await carrier.send(opened)
        seen = {0}
        while max(seen) < A_QUARTER:
            await asyncio.sleep(0)
            seen.add(behind.client.tunnel.dialling)
        assert len(seen) > 2
        names.let_go()
