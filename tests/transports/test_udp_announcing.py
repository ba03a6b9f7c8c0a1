"""The client's repeated announcements of its tunnels of transport udp."""

import asyncio
import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.datagrams import UdpNet
from tests.support.doors import door_settings
from tests.support.net import HOST, until

from backhaul.net.descriptors import Descriptors, open_any
from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.net.udp import Counters
from backhaul.relay.copies import Copies
from backhaul.relay.flows import Flow, FlowTable
from backhaul.relay.patience import Patience
from backhaul.relay.resumption import Resumption
from backhaul.relay.traffic import Meter, Traffic
from backhaul.security.records import Cipher
from backhaul.security.session import SessionKeys, Side
from backhaul.transports.carriers.udp_client import UdpClient
from backhaul.transports.carriers.udp_dialect import Received
from backhaul.wire.datagrams import Batch
from backhaul.wire.peer import Peer

TUNNELS = 300
A_FEW = 64


class Door:
    """A protected control channel to a server at this host."""

    keys = SessionKeys(bytes(32), Side.CLIENT, Cipher.AES_128_GCM, payload=False)
    server = Peer(instance=b"a process")
    server_address = HOST

    def start(self, events: object) -> None:
        """See Door."""

    def disconnect(self) -> None:
        """See Door."""

    async def connect(self) -> str:
        """See Door."""
        return HOST


class Dialect:
    """Counts the announcements of each tunnel."""

    repeats = True

    def __init__(self) -> None:
        self.count = 0
        self.names: set[bytes] = set()

    def announce(self, tunnel: bytes, number: int) -> Batch:
        """See ClientDialect."""
        del number
        self.count += 1
        self.names.add(tunnel)
        return [tunnel]

    def read(self, tunnel: bytes, datagram: bytes | memoryview, counters: Counters) -> Received | None:
        """See ClientDialect."""


@asynccontextmanager
async def connected(silent_flow: float = 10.0) -> AsyncIterator[tuple[UdpClient, Poller]]:
    """Run a client that has a control channel."""
    async with UdpNet("udp") as net:
        server, poller = net.udp(), make_poller()
        relay: Any = SimpleNamespace(
            poller=poller,
            flows=FlowTable(),
            patience=Patience(announce=0.01, silent_flow=silent_flow),
            resumption=Resumption(),
            copies=Copies(),
        )
        door: Any = Door()
        client = UdpClient(door_settings(server.sock.getsockname()[1]), door, relay)
        await client.connect()
        yield client, poller
        client.disconnect()
        await until(lambda: not client.idle)
        poller.close()


async def test_many_tunnels_are_announced_a_few_at_a_time() -> None:
    """With 4000 flows all of them at once stopped the users of the client for 50 ms, every 5 seconds."""
    async with connected() as (client, _):
        for _ in range(TUNNELS):
            client.open()
        client.dialect = dialect = Dialect()
        steps, before = [0], 0
        while dialect.count < 3 * TUNNELS:
            await asyncio.sleep(0)
            steps.append(dialect.count - before)
            before = dialect.count
        assert max(steps) <= A_FEW
        assert len(dialect.names) == TUNNELS


async def test_idle_tunnels_leave_the_reserve_of_descriptors_alone() -> None:
    async with connected() as (client, poller):
        next_one = open_any()
        os.close(next_one)
        poller.descriptors = Descriptors(lambda: next_one + A_FEW)
        for _ in range(TUNNELS):
            client.open()
        assert 0 < client.idle < A_FEW


async def test_flows_in_use_keep_their_descriptors() -> None:
    async with connected() as (client, poller):
        flows, end = client.relay.flows, Held()
        Flow(flows, end, "target", Traffic(Meter(), Meter()), flows.counters)
        limit = limit_for(end.number)
        poller.descriptors = Descriptors(lambda: limit)
        client.open()
        assert (client.idle, len(flows)) == (0, 1)
        flows.close()


class Held:
    """The near end of a flow, which holds a descriptor."""

    def __init__(self) -> None:
        self.number = open_any()

    def send(self, batch: Batch) -> None:
        """See DatagramEnd."""

    def close(self) -> None:
        """See DatagramEnd."""
        os.close(self.number)


@pytest.mark.parametrize(
    ("silent_flow", "since"),
    [pytest.param(10.0, 5.0, id="since before the control channel"), pytest.param(-1.0, 0.0, id="for long")],
)
async def test_a_silent_flow_makes_room_for_an_idle_tunnel(silent_flow: float, since: float) -> None:
    """Flows of a hostile server kept all descriptors of a client for a minute."""
    async with connected(silent_flow) as (client, poller):
        flows, ends = client.relay.flows, [Held(), Held()]
        silent, busy = [Flow(flows, end, "target", Traffic(Meter(), Meter()), flows.counters) for end in ends]
        limit = limit_for(ends[0].number)
        poller.descriptors = Descriptors(lambda: limit)
        silent.last_used -= since
        client.open()
        assert (client.idle, silent.closed, busy.closed) == (1, True, False)
        flows.close()


def limit_for(number: int) -> int:
    """Return a limit of descriptors with which users get this one, but no higher one."""
    limit = number
    while Descriptors(functools.partial(int, limit)).users_end() <= number:
        limit += 1
    return limit
