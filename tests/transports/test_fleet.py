"""How many connections a server requests from a client that gives them back, and how many it closes."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support.net import until

from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience
from backhaul.transports.carriers.fleet import Fleet


@dataclass
class Owner:
    """The idle connections, and the requests."""

    idle: int = 0
    waiting: int = 0
    requests: int = 0
    dial_time: float = 0.0
    closed: list[int] = field(default_factory=list)

    def request(self) -> None:
        """See FleetOwner."""
        self.requests += 1

    def close_idle(self, count: int) -> None:
        """See FleetOwner."""
        self.closed.append(count)


def fleet_of(relay: Relay, owner: Owner, own: int) -> Fleet[Hashable]:
    """Return a fleet of connections that the client has opened by itself, all idle."""
    fleet: Fleet[Hashable] = Fleet(relay, owner)
    for number in range(own):
        fleet.add(number)
    owner.idle = own
    return fleet


async def relay_of(**patience: Any) -> AsyncIterator[Relay]:  # noqa: ANN401 - any limit
    poller = make_poller()
    relay = Relay(poller, patience=Patience(**patience))
    yield relay
    relay.close()
    poller.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async for relay in relay_of():
        yield relay


@pytest.fixture
async def hasty() -> AsyncIterator[Relay]:
    async for relay in relay_of(request=0.01, unused=0.01):
        yield relay


async def test_nothing_is_requested_while_half_of_the_pool_is_idle(relay: Relay) -> None:
    fleet = fleet_of(relay, owner := Owner(), own=8)
    for idle in (8, 7, 6, 5):
        owner.idle = idle
        fleet.expect(1)
    assert owner.requests == 0
    owner.idle = 4
    fleet.expect(1)
    assert owner.requests == 1


async def test_connections_on_their_way_count(relay: Relay) -> None:
    fleet = fleet_of(relay, owner := Owner(), own=1)
    owner.idle = 0
    for users in (1, 2, 2, 2):
        fleet.expect(users)
    assert owner.requests == 2
    fleet.require(5)
    assert owner.requests == 5
    fleet.require(5)
    assert owner.requests == 5


async def test_an_answer_is_no_longer_on_its_way(relay: Relay) -> None:
    fleet = fleet_of(relay, owner := Owner(), own=1)
    owner.idle = 0
    fleet.expect(1)
    fleet.add("answer")
    fleet.expect(1)
    assert owner.requests == 2


async def test_a_connection_that_may_be_dead_is_replaced(relay: Relay) -> None:
    fleet, now = fleet_of(relay, owner := Owner(), own=8), relay.loop.time()
    fleet.doubt(now)
    assert owner.requests == 0
    fleet.doubt(now - relay.patience.alive - 1)
    assert owner.requests == 1


async def test_a_request_in_vain_is_repeated_for_those_who_wait(hasty: Relay) -> None:
    fleet = fleet_of(hasty, owner := Owner(), own=1)
    owner.idle, owner.waiting = 0, 2
    fleet.require(2)
    await until(lambda: owner.requests >= 6)
    owner.waiting = 0
    fleet.clear()


async def test_a_request_is_not_repeated_while_its_dial_may_be_under_way(hasty: Relay) -> None:
    slow, quick = Owner(waiting=1, dial_time=60.0), Owner(waiting=1)
    fleets = [fleet_of(hasty, slow, own=0), fleet_of(hasty, quick, own=0)]
    for fleet in fleets:
        fleet.require(1)
    await until(lambda: quick.requests >= 3)
    assert slow.requests == 1
    for fleet in fleets:
        fleet.clear()


async def test_a_late_answer_counts_as_one(hasty: Relay) -> None:
    fleet = fleet_of(hasty, owner := Owner(waiting=1), own=1)
    owner.idle = 0
    fleet.require(1)
    await until(lambda: owner.requests == 2)  # the first was given up
    owner.waiting = 0
    fleet.add("late")
    owner.idle = 2
    await until(lambda: owner.closed)
    assert owner.closed[0] == 1


def after_a_peak(relay: Relay, owner: Owner) -> Fleet[Hashable]:
    """Return a fleet with ten connections beyond the client's own eight."""
    fleet = fleet_of(relay, owner, own=8)
    owner.idle = 0
    fleet.require(10)
    for number in range(10):
        fleet.add(f"requested {number}")
    return fleet


async def test_connections_left_by_a_peak_are_closed(hasty: Relay) -> None:
    fleet = after_a_peak(hasty, owner := Owner())
    owner.idle = 18
    await until(lambda: owner.closed)
    assert owner.closed[0] == 10
    fleet.clear()


async def test_a_half_of_the_pool_stays_idle(hasty: Relay) -> None:
    fleet = after_a_peak(hasty, owner := Owner())
    owner.idle = 6
    await until(lambda: owner.closed)
    assert owner.closed[0] == 6 - 8 // 2
    fleet.clear()


async def test_connections_that_users_have_needed_stay(hasty: Relay) -> None:
    fleet = after_a_peak(hasty, owner := Owner())
    owner.idle = 18
    while not owner.closed:
        fleet.taken(5)  # for a moment, in each turn of the loop
        await asyncio.sleep(0)
    assert owner.closed[0] == 5 - 8 // 2
    fleet.clear()


async def test_closed_connections_are_of_the_surplus_first(hasty: Relay) -> None:
    fleet = fleet_of(hasty, owner := Owner(), own=8)
    owner.idle = 0
    fleet.require(2)
    fleet.add("one")
    fleet.add("two")
    for member in ("one", "one", 3):
        fleet.discard(member)
    owner.idle = 8
    fleet.expect(5)
    assert owner.requests == 3
    assert "one" not in fleet
    assert "two" in fleet
