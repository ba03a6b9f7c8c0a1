"""Rates of ports and sources, both ways."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.datagrams import UdpNet, repeat
from tests.support.net import HOST, Peer, echo
from tests.support.tunnel import Net, Tunnel, change

from backhaul.config.limits import Limits, LimitTables
from backhaul.config.ports import parse_ports
from backhaul.relay.rates import RatedTraffic, Turn
from backhaul.tunnel.port import Port
from backhaul.tunnel.rates import RateTable

SLOW = 800_000  # bits a second: 100 kB
SIZE = 2 << 20  # bytes, which would take 20 seconds
FIRST = 20_000  # bytes that are awaited at that rate
DATA = bytes(range(256)) * (SIZE // 256)
LEGACY = 'security = "legacy"'
FAMILIES = [("tcp", ""), ("tcp", LEGACY), ("ws", ""), ("wsmux", "")]


@contextlib.asynccontextmanager
async def limited(transport: str, lines: str, limits: Limits) -> AsyncIterator[Tunnel]:
    """Start a tunnel with limits for all ports."""
    async with Net(transport) as net:
        tunnel = await net.tunnel(await net.echo(), await net.echo(), server=lines, client=lines)
        await change(tunnel.server, limits=LimitTables(limits))
        yield tunnel


async def send_all(user: Peer) -> None:
    """Send the data and its end."""
    await user.send(DATA)
    user.shut_write()


async def free(tunnel: Tunnel) -> None:
    """Lift all limits."""
    await change(tunnel.server, limits=LimitTables())


@pytest.mark.parametrize(
    ("transport", "lines", "limits"),
    [
        *((transport, lines, Limits(rate=SLOW)) for transport, lines in FAMILIES),
        ("tcp", "", Limits(rate_per_source=SLOW)),
    ],
)
async def test_a_rate_pauses_both_ways_and_loses_nothing(transport: str, lines: str, limits: Limits) -> None:
    async with limited(transport, lines, limits) as tunnel:
        user = await tunnel.user()
        await echo(user, b"first")
        sending = asyncio.ensure_future(send_all(user))
        start = await user.receive(FIRST)
        port = tunnel.server.state().ports[0]
        assert port.received < SIZE / 2
        assert port.sent < SIZE / 2
        await free(tunnel)
        assert start + await user.receive_all() == DATA
        await sending


@pytest.mark.parametrize(("transport", "lines"), FAMILIES)
async def test_bulk_within_the_rate_arrives_whole(transport: str, lines: str) -> None:
    async with limited(transport, lines, Limits(rate=2_000_000_000, rate_per_source=1_000_000_000)) as tunnel:
        user = await tunnel.user()
        sending = asyncio.ensure_future(user.send(DATA * 10))
        assert await user.receive(10 * SIZE) == DATA * 10
        await sending


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_datagrams_beyond_the_rate_are_dropped(transport: str) -> None:
    async with UdpNet(transport) as net:
        tunnel = await net.flows(net.udp_echo().port)
        await change(tunnel.server, limits=LimitTables(Limits(rate=SLOW)))
        user = net.udp(to=tunnel.ports[0])
        await user.ask(b"hello")
        await repeat(lambda: user.send(bytes(1200)), lambda: tunnel.server.state().ports[0].datagrams_dropped)


def test_a_changed_rate_bounds_the_next_read_of_present_users() -> None:
    table, port = RateTable(Stopped()), Port(parse_ports(["443"])[0])
    table.apply(LimitTables(Limits(rate=8_000_000), ((443, Limits(rate_per_source=800_000)),)))
    traffic = table.traffic(port, (HOST, 1), "")
    assert isinstance(traffic, RatedTraffic)
    turn = Turn(traffic.rates.received, lambda: None)
    bursts = [turn.portion]
    for limits in (Limits(rate=8_000_000), Limits()):
        table.apply(LimitTables(limits))
        bursts.append(turn.portion)
    assert bursts == [10_000, 100_000, 1 << 30]


class Stopped:
    """Time that does not advance."""

    def time(self) -> float:
        return 0.0

    def call_later(self, _delay: float, callback: Callable[[], object], /) -> asyncio.TimerHandle:
        raise NotImplementedError(callback)
