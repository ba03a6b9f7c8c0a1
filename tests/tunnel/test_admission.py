"""Lists of networks, limits of users at a time and of new users."""

import os
from pathlib import Path

import pytest
from tests.support.clock import Clock
from tests.support.config import server as read
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net, change, refused, turned_away

from backhaul.addresses import LOCAL
from backhaul.config.address import Address
from backhaul.config.limits import NO_LIMITS, Limits, LimitTables
from backhaul.errors import BackhaulError
from backhaul.tunnel.admission import Admission, Objection
from backhaul.tunnel.network_files import NetworkFiles
from backhaul.tunnel.sources import Sources

RATES = Limits(max_users_per_source=2, new_users_per_second_per_source=3)


def never(_port: int, _ip: str) -> None:
    """Object to no address because of its bytes."""


@pytest.mark.parametrize(
    ("table", "reason", "key"),
    [
        ('limits.PORT]\ndeny = ["127.0.0.0/8"]', "denied", "deny"),
        ('limits]\nallow = ["10.0.0.0/8"]', "not_allowed", "allow"),
        ("limits]\nmax_users = 1", "users", "max_users"),
        ("limits.PORT]\nmax_users = 1", "users", "max_users"),
        ("limits]\nmax_users_per_source = 1", "source_users", "max_users_per_source"),
    ],
)
async def test_a_refused_user_is_reset_counted_and_logged(
    net: Net, table: str, reason: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    tunnel = await net.tunnel(await net.echo())
    port = str(tunnel.ports[0])
    await change(tunnel.server, limits=read("[server." + table.replace("PORT", port)).limits)
    if key not in {"allow", "deny"}:
        await echo(await tunnel.user(), b"first")
    await turned_away(tunnel)
    assert refused(tunnel.server) == {reason: 1}
    assert f"{table.replace('PORT', port).partition(']')[0]}.{key} " in caplog.text
    await change(tunnel.server, limits=LimitTables())
    await echo(await tunnel.user(), b"after")


async def test_present_users_count_after_a_reload_and_leave(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo())
    first = await tunnel.user()
    await echo(first, b"first")
    await change(tunnel.server, limits=LimitTables(Limits(max_users_per_source=1)))
    await turned_away(tunnel)
    await echo(first, b"still here")
    first.close()
    await until(lambda: not tunnel.server.state().relay.users)
    await echo(await tunnel.user(), b"second")


async def test_a_file_of_networks_is_watched(net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    net.timings = {"lists": 0.01}
    path = tmp_path / "deny"
    path.write_text("192.0.2.0/24\n")
    tunnel = await net.tunnel(await net.echo())
    await change(tunnel.server, limits=LimitTables(Limits(deny_file=str(path))))
    await echo(await tunnel.user(), b"not listed")
    replace(path, f"192.0.2.0/24\n{HOST} # now\n")
    await until(lambda: "read again, 2 networks" in caplog.text)
    await turned_away(tunnel)
    replace(path, "10.0.0.1/8\n")
    await until(lambda: f"limits.deny_file: {path}: line 1" in caplog.text)
    await turned_away(tunnel)


def replace(path: Path, text: str) -> None:
    """Replace a file in one step."""
    other = path.with_suffix(".new")
    other.write_text(text)
    os.replace(other, path)  # noqa: PTH105


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_flows_of_datagrams_are_users(transport: str) -> None:
    async with UdpNet(transport) as net:
        tunnel = await net.flows(net.udp_echo().port)
        await change(tunnel.server, limits=LimitTables(Limits(max_users=1)))
        first, second = (net.udp(to=tunnel.ports[0]) for _ in range(2))
        assert await first.ask(b"first") == b"echo:first"
        second.send(b"second")
        await until(lambda: refused(tunnel.server) == {"users": 1})
        assert await first.ask(b"again") == b"echo:again"
        await change(tunnel.server, limits=LimitTables())
        assert await second.ask(b"now") == b"echo:now"


def test_a_source_has_an_allowance_of_new_users() -> None:
    clock, sources = Clock(), Sources(RATES)
    for _ in range(2):
        assert not sources.objection("192.0.2.1", clock())
        sources.enter("192.0.2.1", clock())
    assert sources.objection("192.0.2.1", clock()) == "max_users_per_source"
    assert not sources.objection("192.0.2.2", clock())
    sources.leave("192.0.2.1")
    sources.enter("192.0.2.1", clock())
    sources.leave("192.0.2.1")
    assert sources.objection("192.0.2.1", clock()) == "new_users_per_second_per_source"
    clock.now += 1 / 3
    assert not sources.objection("192.0.2.1", clock())


def test_many_addresses_cost_no_memory() -> None:
    clock, sources = Clock(), Sources(RATES, most_allowances=10)
    sources.enter("192.0.2.1", clock())
    for number in range(1000):
        sources.enter(f"2001:db8:0:{number:x}::/64", clock())
        sources.leave(f"2001:db8:0:{number:x}::/64")
        sources.leave("a source without users")
    assert sources.known == 11
    sources.enter("192.0.2.1", clock())
    assert sources.objection("192.0.2.1", clock()) == "max_users_per_source"


async def test_new_users_are_limited_by_time() -> None:
    clock = Clock()
    admission = Admission(NetworkFiles(3600), clock, lambda: 0, never)
    await admission.limit(LimitTables(ports=((443, Limits(new_users_per_second=2)),)), ())
    assert [admission.objection(443, (HOST, 1), 0) for _ in range(3)] == [
        None,
        None,
        Objection("new_users_per_second", "limits.443"),
    ]
    assert admission.objection(444, (HOST, 1), 0) is None
    clock.now += 0.5
    assert admission.objection(443, (HOST, 1), 0) is None


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (Limits(new_users_per_second=1), Limits(new_users_per_second=2)),
        (Limits(new_users_per_second_per_source=1), Limits(new_users_per_second_per_source=2)),
    ],
)
async def test_a_reload_admits_no_further_new_users(one: Limits, two: Limits) -> None:
    clock = Clock()
    admission = Admission(NetworkFiles(3600), clock, lambda: 0, never)
    await admission.limit(LimitTables(one, ((443, one),)), ())
    assert admission.objection(443, (HOST, 1), 0) is None
    for tables in (
        LimitTables(one, ((443, one),)),
        LimitTables(two, ((443, two),)),
        LimitTables(NO_LIMITS, ((443, two),)),
    ):
        await admission.limit(tables, ())
        assert admission.objection(443, (HOST, 1), 0)
    clock.now += 0.5
    assert admission.objection(443, (HOST, 1), 0) is None
    await admission.limit(LimitTables(), ())
    await admission.limit(LimitTables(one), ())
    assert admission.objection(443, (HOST, 1), 0) is None


async def test_users_of_unix_sockets_have_no_address() -> None:
    clock = Clock()
    admission = Admission(NetworkFiles(3600), clock, lambda: 3, never)
    await admission.limit(LimitTables(Limits(max_users_per_source=1, allow=("10.0.0.0/8",))), [(0, LOCAL)] * 3)
    assert admission.objection(0, (LOCAL, 0), 3) is None
    await admission.limit(LimitTables(Limits(max_users=3)), [(0, LOCAL)] * 3)
    assert admission.objection(0, (LOCAL, 0), 0) == Objection("max_users", "limits")


async def test_limits_stay_as_they_are_when_a_reload_fails(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo())
    elsewhere = Address("192.0.2.1", tunnel.bind_port)  # RFC 5737: no machine has it
    with pytest.raises(BackhaulError, match="cannot assign"):
        await change(tunnel.server, bind_addr=elsewhere, limits=LimitTables(Limits(max_users=1)))
    assert tunnel.server.state().limits == ()
    for user in [await tunnel.user(), await tunnel.user()]:
        await echo(user, b"no limit")


async def test_limits_in_force_and_their_use(net: Net, tmp_path: Path) -> None:
    tunnel = await net.tunnel(await net.echo())
    assert tunnel.server.state().limits == ()
    path = tmp_path / "deny"
    path.write_text("192.0.2.0/24\n2001:db8::/32\n")
    port = tunnel.ports[0]
    everywhere = Limits(max_users=9, bytes_per_day=1000, rate=8000, deny=("10.0.0.0/8",), deny_file=str(path))
    single = Limits(max_users_per_source=5, bytes_per_month_per_source=100, new_users_per_second=9)
    await change(tunnel.server, limits=LimitTables(everywhere, ((port, single), (1, Limits(max_users=1)))))
    users = [await tunnel.user() for _ in range(2)]
    for user in users:
        await echo(user, b"bytes")
    users.pop().close()
    await until(lambda: tunnel.server.state().relay.users == 1)
    limits = {(one.table, one.limit): one for one in tunnel.server.state().limits}
    own = f"limits.{port}"
    assert 0 <= limits[own, "new_users_per_second"].used <= 2
    assert {key: (one.unit, one.most, one.used) for key, one in limits.items() if one.counted} == {
        ("limits", "max_users"): ("users", 9, 1),
        ("limits", "bytes_per_day"): ("bytes", 1000, 10),
        (own, "max_users_per_source"): ("users", 5, 1),
        (own, "bytes_per_month_per_source"): ("bytes", 100, 10),
        (own, "new_users_per_second"): ("users/s", 9, limits[own, "new_users_per_second"].used),
        ("limits.1", "max_users"): ("users", 1, 0),
    }
    assert {key: one.most for key, one in limits.items() if not one.counted} == {
        ("limits", "rate"): 8000,
        ("limits", "deny"): 3,
    }


async def test_addresses_of_one_port_are_limited_each_by_itself(net: Net) -> None:
    target, port = await net.echo(), free_port()
    hosts = (HOST, "127.0.0.2")
    bind_port = free_port()
    lines = f"[server.limits.{port}]\nmax_users = 2"
    server = await net.server(bind_port, [f"{host}:{port}={target}" for host in hosts], lines)
    await net.client(bind_port)
    for user in [await net.dial(port, HOST), await net.dial(port, HOST), await net.dial(port, "127.0.0.2")]:
        await echo(user, b"hello")
    (limit,) = server.state().limits
    assert (limit.most, limit.used) == (2, 2)
