"""Connects, bounded in time, to any address that answers, with exactly one callback."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.apart import Namespace, separable
from tests.support.exhausted import ExhaustedPoller
from tests.support.names import Names
from tests.support.net import HOST, PATIENCE, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.net.connector import Dialer, ForbiddenAddressError, Permit, numeric_address, numeric_family, scoped_host
from backhaul.net.poller import Poller
from backhaul.net.pollers import make_poller
from backhaul.net.resolver import Found, Resolver, look_up
from backhaul.net.sockets import SocketOptions

pytestmark = pytest.mark.both_loops
OPTIONS = SocketOptions()
NAME, SILENT = "name.example", "silent.example"
ADDRESS_TIMEOUT = 0.05  # seconds, of several addresses
Outcome = socket.socket | OSError


class Desk:
    """A dialer and the outcome of its attempts."""

    def __init__(self, net: Net, poller: Poller, timeout: float, address_timeout: float = ADDRESS_TIMEOUT) -> None:
        self.net = net
        self.names = Names()
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.now = 1000.0
        self.resolver = Resolver(lookup=self.look_up, clock=lambda: self.now)
        self.dialer = Dialer(poller, timeout, self.resolver, address_timeout=address_timeout)
        self.outcomes: list[Outcome] = []

    def look_up(self, name: str) -> Found:
        """Return the addresses set by the test, or ask the system."""
        if name == SILENT:
            return self.names(name)
        addresses = self.hosts.get(name)
        return tuple((socket.AF_INET, (address, 0)) for address in addresses) if addresses else look_up(name)

    def close(self) -> None:
        """Close the dialer and its parts."""
        self.dialer.close()
        self.names.let_go()
        self.resolver.close()

    async def dial(self, host: str, port: int, permit: Permit = lambda _: True) -> Outcome:
        """Connect and wait for the outcome."""
        before = len(self.outcomes)
        self.dialer.dial(host, port, OPTIONS, self.outcomes.append, permit)
        await until(lambda: len(self.outcomes) > before)
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
    desk.close()
    poller.close()


@pytest.fixture
async def hasty(net: Net) -> AsyncIterator[Desk]:
    poller = make_poller()
    desk = Desk(net, poller, 0.05, address_timeout=10)
    yield desk
    desk.close()
    poller.close()


async def test_descriptors_beyond_the_end_are_not_used(net: Net) -> None:
    poller = make_poller()
    outcomes: list[Outcome] = []
    resolver = Resolver(lookup=look_up)
    dialer = Dialer(poller, PATIENCE, resolver, end=lambda: 0)
    dialer.dial(HOST, free_port(), OPTIONS, outcomes.append)
    assert isinstance(outcomes[0], OSError)
    assert outcomes[0].errno == errno.EMFILE
    resolver.close()
    poller.close()


async def silent_port(net: Net) -> int:
    """Return a port that never answers: its queue of one is full."""
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


async def test_an_unreachable_host(desk: Desk) -> None:
    assert await desk.error("255.255.255.255", 1) in {errno.ENETUNREACH, errno.EACCES}  # no packet leaves


def leave_one_port() -> None:
    """Leave one port for connections from the network in which this thread is."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("9001 9001")


@pytest.mark.skipif(not separable(), reason="needs root and Linux's namespaces")
@pytest.mark.parametrize(
    ("host", "text"), [(HOST, "no local port is left"), ("::1", "IPv6 is switched off here, or no")]
)
async def test_a_machine_without_a_free_port(desk: Desk, host: str, text: str) -> None:
    with contextlib.closing(Namespace()) as space:
        await until(lambda: space.ready)
        space.run("ip link set lo up")
        with space.entered():
            leave_one_port()
            listener = desk.net.listen(host=host)
            await desk.connected(host, listener.port)
            outcome = await desk.dial(host, listener.port)
    assert isinstance(outcome, OSError)
    assert text in str(outcome)
    assert "widen net.ipv4.ip_local_port_range" in str(outcome)


async def test_a_name_that_does_not_exist(desk: Desk) -> None:
    assert isinstance(await desk.dial("no-such-host.invalid", 80), socket.gaierror)


async def test_an_invalid_name(desk: Desk) -> None:
    assert await desk.error("x" * 70 + ".example", 80) == errno.EINVAL


async def test_an_address_that_never_answers(hasty: Desk) -> None:
    assert await hasty.error(HOST, await silent_port(hasty.net)) == errno.ETIMEDOUT


async def test_the_time_limit_includes_the_look_up(hasty: Desk) -> None:
    assert await hasty.error(SILENT, 80) == errno.ETIMEDOUT
    hasty.names.let_go()
    await until(lambda: not hasty.resolver.running)
    assert len(hasty.outcomes) == 1


async def test_an_address_that_answers_after_the_next_one_was_tried(desk: Desk) -> None:
    late = desk.net.listen(backlog=0)
    await desk.net.dial(late.port)
    desk.hosts[NAME] = (HOST, "127.0.0.2")  # where nothing listens
    dialling = asyncio.ensure_future(desk.connected(NAME, late.port))
    await until(lambda: len(desk.dialer))
    await late.accept()  # the kernel sends the SYN again after a second
    assert (await dialling).sock.getpeername() == (HOST, late.port)


async def test_an_address_that_does_not_answer_leaves_time_for_the_others(desk: Desk) -> None:
    port = await silent_port(desk.net)
    listener = desk.net.listen(port, "127.0.0.2")
    desk.hosts[NAME] = (HOST, "127.0.0.2")
    await desk.connected(NAME, port)
    await listener.accept()


async def test_the_time_limit_is_one_for_all_addresses(hasty: Desk) -> None:
    port = await silent_port(hasty.net)
    hasty.net.listen(port, "127.0.0.2")
    hasty.hosts[NAME] = (HOST, "127.0.0.2")
    assert await hasty.error(NAME, port) == errno.ETIMEDOUT
    assert len(hasty.outcomes) == 1


async def test_the_addresses_of_a_name_are_tried_in_turn(desk: Desk) -> None:
    first = desk.net.listen(host="127.0.0.2")
    desk.net.listen(first.port, "127.0.0.3")
    desk.hosts[NAME] = (HOST, "127.0.0.2", "127.0.0.3")
    peer = await desk.connected(NAME, first.port)
    assert peer.sock.getpeername() == ("127.0.0.2", first.port)


async def test_when_all_addresses_fail_the_last_error_counts(desk: Desk) -> None:
    desk.hosts[NAME] = (HOST, "127.0.0.2")
    assert await desk.error(NAME, free_port()) == errno.ECONNREFUSED
    assert len(desk.outcomes) == 1


async def test_of_a_name_with_thousands_of_addresses_a_few_are_tried(desk: Desk) -> None:
    desk.hosts[NAME] = tuple(f"127.0.{number >> 8}.{number & 255}" for number in range(1, 4000))
    assert await desk.error(NAME, free_port()) == errno.ECONNREFUSED


async def test_a_name_that_has_moved_costs_one_attempt(desk: Desk) -> None:
    before = desk.net.listen()
    desk.hosts[NAME] = (HOST,)
    await desk.connected(NAME, before.port)
    before.close()
    desk.net.listen(before.port, "127.0.0.2")
    desk.hosts[NAME] = ("127.0.0.2",)
    desk.now += 2
    assert await desk.error(NAME, before.port) == errno.ECONNREFUSED
    await desk.connected(NAME, before.port)


async def test_only_permitted_addresses_of_a_name_are_dialled(desk: Desk) -> None:
    listener = desk.net.listen(host="127.0.0.2")
    desk.net.listen(listener.port)
    desk.hosts[NAME] = (HOST, "127.0.0.2")
    outcome = await desk.dial(NAME, listener.port, lambda address: address != HOST)
    assert isinstance(outcome, socket.socket)
    assert desk.net.keep(Peer(outcome)).sock.getpeername()[0] == "127.0.0.2"


async def test_a_name_without_a_permitted_address_is_not_dialled(desk: Desk) -> None:
    desk.hosts[NAME] = (HOST,)
    assert isinstance(await desk.dial(NAME, desk.net.listen().port, lambda _: False), ForbiddenAddressError)


async def test_closing_ends_every_attempt_with_an_error(desk: Desk) -> None:
    port = await silent_port(desk.net)
    desk.dialer.dial(HOST, port, OPTIONS, desk.outcomes.append)
    desk.dialer.dial(SILENT, port, OPTIONS, desk.outcomes.append)
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

    async def test_a_cancelled_caller_leaves_no_socket_open(self, desk: Desk) -> None:
        listener = desk.net.listen()
        # The look-up of a name takes a moment; an address of this machine would be connected at once.
        connecting = asyncio.ensure_future(desk.dialer.connect("localhost", listener.port, OPTIONS))
        await asyncio.sleep(0)
        connecting.cancel()
        assert await (await listener.accept()).receive_all() == b""


async def test_an_interface_that_does_not_exist(desk: Desk) -> None:
    outcome = await desk.dial("fe80::1%nowhere", 80)
    assert isinstance(outcome, OSError)
    assert (outcome.errno, outcome.strerror) == (errno.ENODEV, "no interface nowhere")


def test_a_link_local_address_keeps_its_interface() -> None:
    scope = socket.if_nametoindex("lo")
    family, address = numeric_address("fe80::1%lo", 80)
    assert (family, address) == (socket.AF_INET6, ("fe80::1", 80, 0, scope))
    assert scoped_host(address) == f"fe80::1%{scope}"
    assert numeric_address(scoped_host(address), 80) == (family, address)


@pytest.mark.parametrize("address", [("::1", 80, 0, 0), (HOST, 80)])
def test_other_addresses_have_no_interface(address: tuple[Any, ...]) -> None:
    assert scoped_host(address) == address[0]


@pytest.mark.parametrize(
    ("host", "family"),
    [(HOST, socket.AF_INET), ("::1", socket.AF_INET6), ("fe80::1%lo", socket.AF_INET6), ("localhost", 0), ("1.2.3", 0)],
)
def test_numeric_addresses(host: str, family: int) -> None:
    assert numeric_family(host) == family


async def test_a_connection_that_can_not_be_watched_fails(net: Net) -> None:
    poller = ExhaustedPoller()
    desk = Desk(net, poller, PATIENCE)
    assert await desk.error(HOST, await silent_port(net)) == errno.ENOMEM
    assert not len(desk.dialer)
    desk.close()
    poller.close()
