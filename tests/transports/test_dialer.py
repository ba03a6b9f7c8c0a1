"""Connecting: bounded in time, to whichever address answers, and called back exactly once."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from tests.support.net import HOST, PATIENCE, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.relay.poller import Poller, make_poller
from backhaul.transports.dialer import Dialer, numeric_family
from backhaul.transports.sockets import SocketOptions

pytestmark = pytest.mark.both_loops
OPTIONS = SocketOptions()
Outcome = socket.socket | OSError


class Desk:
    """A dialer and what became of its attempts."""

    def __init__(self, net: Net, poller: Poller, timeout: float) -> None:
        self.net = net
        self.dialer = Dialer(poller, timeout)
        self.outcomes: list[Outcome] = []

    async def dial(self, host: str, port: int) -> Outcome:
        """Connect and wait for the outcome."""
        self.dialer.dial(host, port, OPTIONS, self.outcomes.append)
        await until(lambda: self.outcomes)
        return self.outcomes[-1]

    async def error(self, host: str, port: int) -> int | None:
        """Connect in vain; return the number of the error."""
        outcome = await self.dial(host, port)
        assert isinstance(outcome, OSError)
        return outcome.errno

    async def connected(self, host: str, port: int) -> Peer:
        """Connect."""
        outcome = await self.dial(host, port)
        assert isinstance(outcome, socket.socket)
        return self.net.keep(Peer(outcome))


@pytest.fixture
async def desk(net: Net) -> AsyncIterator[Desk]:
    poller = make_poller()
    desk = Desk(net, poller, PATIENCE)
    yield desk
    desk.dialer.close()
    poller.close()


@pytest.fixture
async def hasty(net: Net) -> AsyncIterator[Desk]:
    poller = make_poller()
    desk = Desk(net, poller, 0.05)
    yield desk
    desk.dialer.close()
    poller.close()


async def silent_port(net: Net) -> int:
    """Return a port that answers nobody: the only place in its queue is taken."""
    listener = net.listen(backlog=0)
    await net.dial(listener.port)
    return listener.port


@pytest.mark.parametrize("host", [HOST, "::1", "localhost"])
async def test_it_connects(desk: Desk, host: str) -> None:
    listener = desk.net.listen(host="::1" if ":" in host else HOST)
    peer = await desk.connected(host, listener.port)
    await (await listener.accept()).send(b"x")
    assert await peer.receive(1) == b"x"
    assert not peer.sock.getblocking()


async def test_a_refusal(desk: Desk) -> None:
    assert await desk.error(HOST, free_port()) == errno.ECONNREFUSED


async def test_a_host_that_can_not_be_reached(desk: Desk) -> None:
    assert await desk.error("255.255.255.255", 1) in {errno.ENETUNREACH, errno.EACCES}  # no packet leaves


async def test_a_name_that_does_not_exist(desk: Desk) -> None:
    assert isinstance(await desk.dial("no-such-host.invalid", 80), socket.gaierror)


async def test_a_name_that_no_resolver_takes(desk: Desk) -> None:
    assert await desk.error("x" * 70 + ".example", 80) == errno.EINVAL


async def test_nobody_answers(hasty: Desk) -> None:
    assert await hasty.error(HOST, await silent_port(hasty.net)) == errno.ETIMEDOUT


async def test_the_time_holds_for_the_name_as_well(hasty: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(hasty.dialer, "_look_up", stuck)
    assert await hasty.error("name.example", 80) == errno.ETIMEDOUT


async def test_an_address_that_does_not_answer_leaves_time_for_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.transports.dialer.ADDRESS_TIMEOUT", 0.05)
    dialer = Dialer(desk.dialer._poller, PATIENCE)
    listener = desk.net.listen()
    monkeypatch.setattr(dialer, "_loop", Loop((HOST, await silent_port(desk.net)), (HOST, listener.port)))
    dialer.dial("name.example", 80, OPTIONS, desk.outcomes.append)
    await until(lambda: desk.outcomes)
    (outcome,) = desk.outcomes
    assert isinstance(outcome, socket.socket)
    desk.net.keep(Peer(outcome))
    dialer.close()


class Loop:
    """The event loop, for which every name has these addresses."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, *_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in self._addresses]

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(coroutine)


async def test_the_addresses_of_a_name_are_tried_in_turn(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = desk.net.listen(), desk.net.listen()
    addresses = [(HOST, free_port()), (HOST, first.port), (HOST, second.port)]
    monkeypatch.setattr(desk.dialer, "_loop", Loop(*addresses))
    peer = await desk.connected("name.example", 80)
    assert peer.sock.getpeername() == (HOST, first.port)


async def test_when_all_addresses_fail_the_last_error_counts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.dialer, "_loop", Loop((HOST, free_port()), ("127.0.0.2", free_port())))
    assert await desk.error("name.example", 80) == errno.ECONNREFUSED
    assert len(desk.outcomes) == 1


async def test_closing_ends_every_attempt_and_says_so(desk: Desk) -> None:
    port = await silent_port(desk.net)
    desk.dialer.dial(HOST, port, OPTIONS, desk.outcomes.append)
    desk.dialer.dial("localhost", port, OPTIONS, desk.outcomes.append)
    desk.dialer.close()
    assert [outcome.errno for outcome in desk.outcomes if isinstance(outcome, OSError)] == [errno.ECANCELED] * 2


class TestAwaited:
    async def test_it_connects(self, desk: Desk) -> None:
        listener = desk.net.listen()
        desk.net.keep(Peer(await desk.dialer.connect(HOST, listener.port, OPTIONS)))
        await listener.accept()

    async def test_an_error_is_raised(self, desk: Desk) -> None:
        with pytest.raises(ConnectionRefusedError):
            await desk.dialer.connect(HOST, free_port(), OPTIONS)

    async def test_who_gives_up_waiting_leaves_no_socket_behind(self, desk: Desk) -> None:
        listener = desk.net.listen()
        # A name, because its lookup takes a moment: an address of this machine is connected at once.
        connecting = asyncio.ensure_future(desk.dialer.connect("localhost", listener.port, OPTIONS))
        await asyncio.sleep(0)
        connecting.cancel()
        assert await (await listener.accept()).receive_all() == b""


@pytest.mark.parametrize(
    ("host", "family"),
    [(HOST, socket.AF_INET), ("::1", socket.AF_INET6), ("fe80::1%lo", socket.AF_INET6), ("localhost", 0), ("1.2.3", 0)],
)
def test_numeric_addresses(host: str, family: int) -> None:
    assert numeric_family(host) == family
