"""The bookkeeping of quotas: the source with the most, reloads, and a clock that is not set."""

from pathlib import Path

import pytest
from tests.support.clock import Clock
from tests.support.net import echo, free_port, until_reset
from tests.support.tunnel import Net, change

from backhaul.addresses import LOCAL
from backhaul.config.limits import Limits, LimitTables
from backhaul.relay.engine import Relay
from backhaul.system.shared_files import SharedFile
from backhaul.tunnel.ledger import MAX_FILE
from backhaul.tunnel.news import News
from backhaul.tunnel.quotas import Quotas
from backhaul.tunnel.timings import Timings

NOON, DAY = 1.8e9, 86400
TEN_A_DAY = LimitTables(Limits(bytes_per_day=10))


class User:
    """A user of port 443."""

    counted, bind_port, client = 0, 443, ""

    def __init__(self, ip: str) -> None:
        self.ip = ip


@pytest.fixture
async def relay(net: Net) -> Relay:
    return (await net.server(free_port())).relay


@pytest.fixture
def store(tmp_path: Path) -> SharedFile:
    return SharedFile(tmp_path / "quotas", MAX_FILE)


def quotas_of(relay: Relay, store: SharedFile, now: float = NOON) -> Quotas:
    clock = Clock()
    clock.now = now
    return Quotas(relay, Timings(), News(), store, clock)


async def test_the_use_of_a_source_is_that_of_the_one_with_the_most(relay: Relay, store: SharedFile) -> None:
    quotas = quotas_of(relay, store)
    await quotas.apply(LimitTables(Limits(bytes_per_day=100, bytes_per_day_per_source=50)))
    for ip, moved in (("192.0.2.1", 9), ("192.0.2.2", 5), (LOCAL, 20)):
        quotas.count(User(ip), moved)
    assert quotas.used()["limits"] == {
        "bytes_per_day": 34,
        "bytes_per_month": 34,
        "bytes_per_day_per_source": 9,
        "bytes_per_month_per_source": 9,
    }
    await quotas.finish()


async def test_peers_of_unix_sockets_are_no_source(relay: Relay, store: SharedFile) -> None:
    quotas = quotas_of(relay, store)
    await quotas.apply(LimitTables(Limits(bytes_per_day_per_source=1)))
    quotas.count(User(LOCAL), 20)
    assert not quotas.objection(443, LOCAL)
    await quotas.finish()


async def test_quotas_that_were_removed_and_set_again_end_present_users(net: Net) -> None:
    net.timings = {"quota": 0.01}
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    await change(tunnel.server, limits=TEN_A_DAY)
    await change(tunnel.server, limits=LimitTables())
    await echo(user, b"not counted")
    await change(tunnel.server, limits=TEN_A_DAY)
    await user.send(b"counted")
    await until_reset(user)


async def test_bytes_are_stored_when_the_quotas_are_removed(relay: Relay, store: SharedFile) -> None:
    quotas = quotas_of(relay, store)
    await quotas.apply(TEN_A_DAY)
    quotas.count(User("192.0.2.1"), 7)
    await quotas.apply(LimitTables())
    assert b'"used":7' in store.file.read_bytes()


async def test_without_quotas_nothing_is_stored(relay: Relay, store: SharedFile) -> None:
    await quotas_of(relay, store).apply(LimitTables())
    assert not store.file.exists()


async def test_at_the_start_a_clock_that_is_not_set_goes_on_with_the_last_day(relay: Relay, store: SharedFile) -> None:
    before, after = quotas_of(relay, store), quotas_of(relay, store, now=DAY)
    await before.apply(TEN_A_DAY)
    before.count(User("192.0.2.1"), 10)
    await before.finish()
    await after.apply(TEN_A_DAY)
    assert after.objection(443, "192.0.2.1")
    await after.finish()
