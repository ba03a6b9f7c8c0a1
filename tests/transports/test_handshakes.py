"""The order of TLS handshakes, and the cost of hellos from untrusted networks."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from tests.support.cert import certificate
from tests.support.clock import Clock
from tests.support.net import ready, until

from backhaul.net.closing import release
from backhaul.net.pollers import make_poller
from backhaul.net.tls import ServerContext, ServerTls
from backhaul.transports.gates.handshakes import Handshakes
from backhaul.transports.gates.lobby import PendingConnection

COST = 0.01  # seconds by the clock below


class Door:
    """Handshakes, most of which fail at their first byte, each at some cost."""

    def __init__(self, patience: float = 60.0) -> None:
        self.clock = Clock()
        self.poller = make_poller()
        cert, key = certificate()
        context = ServerContext(ServerTls(str(cert), str(key)))
        self.handshakes: Handshakes[PendingConnection] = Handshakes(
            self.poller, context, self.done, self.done, self.failed, share=0.25, patience=patience, clock=self.clock
        )
        self.served: list[str] = []
        self._ends: list[socket.socket] = []
        self._pending: list[PendingConnection] = []

    def done(self, pending: PendingConnection) -> None:
        self.clock.now += COST
        self.served.append(f"{pending.ip} is through")

    def failed(self, pending: PendingConnection, error: OSError) -> None:
        self.clock.now += 0.0 if isinstance(error, ConnectionResetError | TimeoutError) else COST
        self.served.append(pending.ip)
        release(self.poller, pending.sock)

    def hello(self, ip: str, *, trusted: bool = False, leaving: bool = False) -> PendingConnection:
        """Open a connection that has sent something, and may be closed already."""
        pending, far = self.connect(ip, trusted=trusted)
        far.send(b"\x16nonsense")
        if leaving:
            far.close()
        return pending

    def connect(self, ip: str, *, trusted: bool = False) -> tuple[PendingConnection, socket.socket]:
        """Open a connection; return its two ends."""
        near, far = socket.socketpair()
        near.setblocking(False)
        self._ends.append(far)
        pending = PendingConnection(near, ip)
        pending.trusted = trusted
        self._pending.append(pending)
        self.handshakes.begin(pending)
        return pending, far

    async def exhaust(self) -> None:
        """Spend the saved-up time: handshakes wait from now on until a test lets time pass.

        One that has waited too long, on a busy machine, spends nothing.
        """
        begun = self.clock.now
        while self.clock.now < begun + 1.5 * COST:
            self.hello("z")
            await until(lambda: self.served)
            self.served.clear()

    async def serve(self, count: int) -> list[str]:
        """Wait until so many have been served; return them."""
        for _ in range(5):
            await asyncio.sleep(0)  # all of them are queued
        while len(self.served) < count:
            self.clock.now += 4 * COST
            await asyncio.sleep(0)
        return self.served

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


async def test_untrusted_networks_wait_until_their_share_of_the_time_allows_another_step(door: Door) -> None:
    for _ in range(40):
        door.hello("a")
    await until(lambda: len(door.served) >= 2)
    for _ in range(20):
        await asyncio.sleep(0)
    before = len(door.served)
    assert before < 10  # the saved-up time: 0.05 s for steps that take 4 * COST of it each
    door.clock.now += 4 * COST
    await until(lambda: len(door.served) > before)


async def test_trusted_connections_do_not_wait(door: Door) -> None:
    for _ in range(10):
        door.hello("a")
    for _ in range(30):
        door.hello("t", trusted=True)
    await until(lambda: door.served.count("t") == 30)
    assert door.served.count("a") < 10


async def test_addresses_take_turns(door: Door) -> None:
    for ip in ("a", "a", "a", "b"):
        door.hello(ip)
    assert "b" in (await door.serve(4))[:2]


async def test_a_connection_that_has_left_is_forgotten(door: Door) -> None:
    gone, _ = door.hello("a"), door.hello("b")
    door.handshakes.discard(gone)
    release(door.poller, gone.sock)
    await until(lambda: door.served == ["b"])
    assert len(door.poller.lingering) == 2  # both are being closed


async def test_a_client_that_has_left_costs_no_handshake(door: Door) -> None:
    for _ in range(40):
        door.hello("a", leaving=True)
    await until(lambda: len(door.served) == 40)


async def test_under_a_flood_from_many_networks_the_last_one_is_next(door: Door) -> None:
    await door.exhaust()
    for number in range(200):
        door.hello(f"192.0.2.{number}")
    door.hello("client")
    assert (await door.serve(1))[0] == "client"


async def test_a_handshake_that_has_begun_continues_under_a_flood(door: Door) -> None:
    _, far = door.connect("client")
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(heard, said)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    far.send(said.read())
    await ready([far])
    heard.write(far.recv(1 << 16))
    client.do_handshake()
    await door.exhaust()
    far.send(said.read())
    for number in range(200):
        door.hello(f"192.0.2.{number}")
    assert "client is through" in (await door.serve(2))[:2]


async def test_a_connection_that_has_waited_too_long_is_not_served() -> None:
    door = Door(patience=0.01)
    await door.exhaust()
    waiting = [door.hello(ip) for ip in "ab"]
    await until(lambda: len(door.served) == 2)  # although no time passes in which they could be served
    assert not any(isinstance(pending.sock, ssl.SSLSocket) for pending in waiting)
    door.close()
