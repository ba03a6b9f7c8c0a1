"""The order of TLS handshakes: what hellos from strangers may cost."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.net import until

from backhaul.relay.poller import make_poller, release
from backhaul.transports.handshakes import Handshakes
from backhaul.transports.lobby import PendingConnection
from backhaul.transports.tls import ServerContext, ServerTls

COST = 0.01  # seconds by the clock below


class Clock:
    """Time passes while somebody works, and when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """Handshakes that fail at their first byte, each after it has cost something."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.poller = make_poller()
        cert, key = certificate()
        context = ServerContext(ServerTls(str(cert), str(key)))
        self.handshakes: Handshakes[PendingConnection] = Handshakes(
            self.poller, context, self.done, self.done, self.failed, share=0.25, clock=self.clock
        )
        self.served: list[str] = []
        self._ends: list[socket.socket] = []
        self._pending: list[PendingConnection] = []

    def done(self, pending: PendingConnection) -> None:
        raise AssertionError(f"{pending.ip} is through")

    def failed(self, pending: PendingConnection, error: OSError) -> None:
        self.clock.now += 0.0 if isinstance(error, ConnectionResetError) else COST
        self.served.append(pending.ip)
        release(self.poller, pending.sock)

    def hello(self, ip: str, *, trusted: bool = False, leaving: bool = False) -> PendingConnection:
        """Have a connection come that has said something, and perhaps was closed then."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self._ends.append(far)
        far.send(b"\x16nonsense")
        if leaving:
            far.close()
        pending = PendingConnection(near, ip)
        pending.trusted = trusted
        self._pending.append(pending)
        self.handshakes.begin(pending)
        return pending

    def close(self) -> None:
        self.handshakes.close()
        for pending in self._pending:
            release(self.poller, pending.sock)
        self.poller.close()
        for end in self._ends:
            end.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    door.close()


async def test_strangers_wait_until_their_share_of_the_time_allows_another(door: Door) -> None:
    for _ in range(40):
        door.hello("a")
    await until(lambda: len(door.served) >= 2)
    for _ in range(20):
        await asyncio.sleep(0)
    before = len(door.served)
    assert before < 10  # what was saved up: 0.05 s for steps that take 4 * COST of it each
    door.clock.now += 4 * COST
    await until(lambda: len(door.served) > before)


async def test_trusted_connections_wait_for_nobody(door: Door) -> None:
    for _ in range(10):
        door.hello("a")
    for _ in range(30):
        door.hello("t", trusted=True)
    await until(lambda: door.served.count("t") == 30)
    assert door.served.count("a") < 10


async def test_addresses_take_turns(door: Door) -> None:
    for ip in ("a", "a", "a", "b"):
        door.hello(ip)
    while len(door.served) < 4:
        door.clock.now += 4 * COST
        await asyncio.sleep(0)
    assert door.served[:2] == ["a", "b"]


async def test_a_connection_that_has_left_is_forgotten(door: Door) -> None:
    gone, stays = door.hello("a"), door.hello("b")
    door.handshakes.discard(gone)
    release(door.poller, gone.sock)
    await until(lambda: door.served == ["b"])
    assert stays.sock.fileno() < 0


async def test_a_client_that_has_left_costs_no_handshake(door: Door) -> None:
    for _ in range(40):
        door.hello("a", leaving=True)
    await until(lambda: len(door.served) == 40)
