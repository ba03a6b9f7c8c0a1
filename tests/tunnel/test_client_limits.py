"""Limits of the users of one client: their rate, and the new ones of a second."""

import asyncio

import pytest
from tests.support.clients import Company
from tests.support.net import HOST, Peer
from tests.support.tunnel import Net

from backhaul.config import ServerConfig
from backhaul.config.diff import diff
from backhaul.config.limits import Limits, LimitTables
from backhaul.config.ports import parse_ports
from backhaul.relay.rates import RatedTraffic
from backhaul.tunnel.client_admission import ClientAdmission
from backhaul.tunnel.network_files import NetworkFiles
from backhaul.tunnel.port import Port
from backhaul.tunnel.rates import RateTable

SIZE = 2 << 20  # bytes, which would take 20 seconds
FIRST = 20_000  # bytes that are awaited at that rate
SLOW = {"berlin": 'rate = "800 kbit/s"'}
DATA = bytes(range(256)) * (SIZE // 256)
REFUSED = (ConnectionResetError, EOFError)


async def reload(company: Company, config: ServerConfig) -> None:
    await company.server.reconfigure(config, diff(company.server.config, config))


async def bulk(company: Company, name: str) -> tuple[Peer, asyncio.Task[None]]:
    """Connect a user, who begins to send the data."""
    user = await company.net.dial(company.ports[name])
    return user, asyncio.create_task(user.send(DATA))


async def answered(company: Company, name: str) -> Peer:
    """Connect a user, whom the service of the client answers."""
    user = await company.net.dial(company.ports[name])
    await user.send(b"?")
    assert await user.receive(len(name) + 1) == f"{name}?".encode()
    return user


def moved(company: Company, name: str) -> int:
    """Return the bytes from the users of a client."""
    (port,) = company.server.tunnels[name].state().ports
    return port.received


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_a_rate_bounds_the_users_of_its_client_until_a_reload_lifts_it(transport: str) -> None:
    async with Net(transport) as net:
        company = Company(net)
        await company.start(["berlin", "paris"], own=SLOW)
        (slow, slowly), (fast, sending) = await bulk(company, "berlin"), await bulk(company, "paris")
        await slow.receive(FIRST)
        await fast.receive(SIZE)
        await sending
        assert moved(company, "berlin") < SIZE / 2
        await reload(company, company.config())
        await slow.receive(SIZE - FIRST)
        await slowly


def test_the_ports_of_a_client_share_its_rate() -> None:
    table = RateTable(Stopped())
    table.apply(LimitTables(clients=(("berlin", Limits(rate=8_000)),)))
    first, second, other = (
        table.traffic(Port(parse_ports([f"{number}"])[0]), (HOST, 1), client)
        for number, client in ((443, "berlin"), (444, "berlin"), (445, "paris"))
    )
    assert isinstance(first, RatedTraffic)
    assert isinstance(second, RatedTraffic)
    assert first.rates == second.rates
    assert not isinstance(other, RatedTraffic)


class Stopped:
    """A clock that stands still."""

    def time(self) -> float:
        return 0.0

    def call_later(self, _delay: float, callback: object, /) -> asyncio.TimerHandle:
        raise NotImplementedError


def test_new_users_of_a_client_in_a_second() -> None:
    now = 0.0
    arrivals = ClientAdmission(NetworkFiles(3600), lambda: now)
    arrivals.limit((("berlin", Limits(new_users_per_second=2)), ("paris", Limits(max_users=1))))
    for _ in range(2):
        assert arrivals.objection("berlin", HOST) is None
        arrivals.enter("berlin")
        arrivals.enter("paris")
    assert arrivals.used("berlin") == {"new_users_per_second": 2}
    assert str(arrivals.objection("berlin", HOST)).startswith("clients.berlin.new_users_per_second is reached")
    assert arrivals.objection("paris", HOST) is None
    assert arrivals.used("paris") == {}
    arrivals.limit((("berlin", Limits(new_users_per_second=3)),))
    assert arrivals.objection("berlin", HOST)
    now = 0.5
    assert arrivals.objection("berlin", HOST) is None


async def test_a_client_gets_no_more_new_users_than_it_may() -> None:
    async with Net("tcp") as net:
        company = Company(net)
        await company.start(["berlin", "paris"], own={"berlin": "new_users_per_second = 1"})
        tries = await asyncio.gather(*(answered(company, "berlin") for _ in range(20)), return_exceptions=True)
        refused = sum(isinstance(one, REFUSED) for one in tries)
        assert 0 < refused < 20  # however slow this machine is, they take less than 20 seconds
        await answered(company, "paris")
        (port,) = company.server.tunnels["berlin"].state().ports
        assert [(refusal.reason, refusal.count) for refusal in port.refusals] == [("new_users", refused)]
        (limit,) = company.server.state().limits
        assert (limit.table, limit.limit, limit.most) == ("clients.berlin", "new_users_per_second", 1)
