"""The bytes that users may move in a day or a month."""

import logging
from pathlib import Path

import pytest
from tests.support.clients import Company
from tests.support.clock import Clock
from tests.support.config import server as read
from tests.support.datagrams import UdpNet
from tests.support.net import HOST, echo, free_port, until, until_reset
from tests.support.tunnel import Net, change, refused, turned_away

from backhaul.addresses import LOCAL
from backhaul.config.diff import diff
from backhaul.config.limits import Limits, LimitTables
from backhaul.reports import Notice, UserEnd
from backhaul.system.shared_files import SharedFile
from backhaul.tunnel.admission import Objection
from backhaul.tunnel.ledger import MAX_FILE, NOWHERE, Bytes, Draft, Ledger, day_at
from backhaul.tunnel.news import News
from backhaul.tunnel.quotas import Quotas
from backhaul.tunnel.timings import Timings

FAST = {"quota": 0.01}


class User:
    """A user of port 443."""

    counted, bind_port = 0, 443

    def __init__(self, ip: str, client: str = "") -> None:
        self.ip = ip
        self.client = client


def filled(ledger: Ledger) -> Draft:
    """Return a draft with all that the ledger has to store."""
    draft = ledger.draft()
    assert len(list(ledger.fill(draft))) >= len(ledger.known())
    return draft


@pytest.mark.parametrize(
    ("table", "key", "source"),
    [
        ("limits", "bytes_per_day", ""),
        ("limits.PORT", "bytes_per_month", ""),
        ("limits.PORT", "bytes_per_day_per_source", HOST),
    ],
)
async def test_users_beyond_a_quota_are_reset_and_refused(
    net: Net, table: str, key: str, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    net.timings = FAST
    tunnel = await net.tunnel(await net.echo())
    heard, ends = list[Notice](), list[UserEnd]()
    tunnel.server.news.listener, port = heard.append, str(tunnel.ports[0])
    tunnel.server.report_to(ends.append)
    before = await tunnel.user()
    await echo(before, b"not counted")
    await change(tunnel.server, limits=read(f"[server.{table.replace('PORT', port)}]\n{key} = 20").limits)
    await echo(before, b"counted")
    present = await tunnel.user()
    await echo(present, b"abc")
    await until_reset(present)
    await turned_away(tunnel)
    assert refused(tunnel.server) == {"quota": 1}
    assert heard == [Notice("limit", limit=key, port=port if "PORT" in table else "", user=source)]
    assert f"{table.replace('PORT', port)}.{key}: used up" in caplog.text
    assert {end.ending for end in ends} == {"limit"}
    await change(tunnel.server, limits=LimitTables())
    await echo(await tunnel.user(), b"after")


async def test_a_quota_that_only_logs_reports_once(net: Net) -> None:
    net.timings = FAST
    tunnel, heard = await net.tunnel(await net.echo()), list[Notice]()
    tunnel.server.news.listener = heard.append
    await change(tunnel.server, limits=LimitTables(Limits(bytes_per_day=1, quota_action="log")))
    user = await tunnel.user()
    await echo(user, b"first")
    await until(lambda: heard)
    await echo(user, b"second")
    user.close()
    await until(lambda: not tunnel.server.state().relay.users)
    await echo(await tunnel.user(), b"third")
    assert [notice.limit for notice in heard] == ["bytes_per_day"]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_flows_of_datagrams_count(transport: str) -> None:
    async with UdpNet(transport) as net:
        net.timings = FAST
        tunnel = await net.flows(net.udp_echo().port)
        await change(tunnel.server, limits=LimitTables(Limits(bytes_per_month=12)))
        user = net.udp(to=tunnel.ports[0])
        assert await user.ask(b"first") == b"echo:first"
        await until(lambda: not tunnel.server.state().relay.flows)
        user.send(b"second")
        await until(lambda: refused(tunnel.server) == {"quota": 1})


async def test_a_restart_forgets_no_bytes(net: Net, tmp_path: Path) -> None:
    net.store = SharedFile(tmp_path / "new" / "quotas", MAX_FILE)
    port = await net.echo()
    tunnel = await net.tunnel(port)
    limits = LimitTables(Limits(bytes_per_day=10))
    await change(tunnel.server, limits=limits)
    await echo(await tunnel.user(), b"bytes")
    await net.stop(tunnel.server)
    again = await net.server(tunnel.bind_port, [f"{HOST}:{tunnel.ports[0]}={port}"], limits=limits)
    await turned_away(tunnel)
    assert refused(again) == {"quota": 1}


async def test_an_end_at_once_forgets_no_bytes(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "quotas"
    net.store = SharedFile(path, MAX_FILE)
    tunnel = await net.tunnel(await net.echo())
    await change(tunnel.server, limits=LimitTables(Limits(bytes_per_day=1000)))
    await echo(await tunnel.user(), b"bytes")
    await tunnel.server.end()
    assert b'"used":10' in path.read_bytes()


@pytest.mark.parametrize("content", [b"broken", b'{"periods":[{"name":"2026-11","used":[{"limit":"a","used":-1}]}]}'])
async def test_a_broken_file_is_replaced(
    net: Net, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "quotas"
    path.write_bytes(content)
    net.store = SharedFile(path, MAX_FILE)
    tunnel = await net.tunnel(await net.echo())
    await change(tunnel.server, limits=LimitTables(Limits(bytes_per_day=1000)))
    await echo(user := await tunnel.user(), b"bytes")
    user.close()  # a stop would wait for it
    await net.stop(tunnel.server)
    assert caplog.text.count(f"{path}: corrupt and replaced") == 1
    draft = filled(Ledger(""))
    draft.onto(path.read_bytes())
    assert not draft.broken
    assert b'"used":10' in path.read_bytes()


async def test_a_file_that_cannot_be_written_stops_nothing(
    net: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "file").touch()
    net.timings, net.store = FAST | {"quota_store": 0}, SharedFile(tmp_path / "file" / "quotas", MAX_FILE)
    tunnel = await net.tunnel(await net.echo())
    await change(tunnel.server, limits=LimitTables(Limits(bytes_per_day=10)))
    user = await tunnel.user()
    await echo(user, b"bytes")
    await until_reset(user)
    await turned_away(tunnel)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [f"{net.store}: not a directory"]


def test_two_processes_add_to_one_file(tmp_path: Path) -> None:
    path = SharedFile(tmp_path / "quotas", MAX_FILE)
    old, new = Ledger("2026-11-26"), Ledger("2026-11-26")
    for ledger, count in ((old, 1), (new, 2), (old, 4)):
        ledger.add(("limits", ""), count)
        draft = filled(ledger)
        ledger.add(("limits", ""), 8)  # meanwhile
        path.update(draft.onto)
        assert list(ledger.adopt(draft))
    assert (old.used(("limits", "")), new.used(("limits", ""))) == (Bytes(23, 23), Bytes(11, 11))


def test_days_and_months_end() -> None:
    ledger = Ledger("2026-11-29")
    ledger.add(("limits", ""), 1)
    assert not ledger.turn("2026-11-29")
    assert ledger.turn("2026-11-30")
    ledger.add(("limits", ""), 2)
    assert ledger.used(("limits", "")) == (2, 3)
    assert ledger.turn("2026-12-01")
    assert not ledger.known()


KEY = ("limits", "")
NOVEMBER, WRONG = "2026-11-26", ("2026-10-01", "2026-12-28", "2031-02-03")


def saved(ledger: Ledger, stored: bytes) -> bytes:
    """Store what the ledger has counted, and let it adopt what the store holds; return the content."""
    draft = filled(ledger)
    content = draft.onto(stored)
    assert list(ledger.adopt(draft))
    return content


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("stored", [False, True])
def test_a_clock_that_is_wrong_for_a_while_forgets_no_bytes(wrong: str, *, stored: bool) -> None:
    ledger, content = Ledger(NOVEMBER), b""
    for day, before, count in ((NOVEMBER, 0, 5), (wrong, 0, 1), (NOVEMBER, 5, 2), (wrong, 1, 1), (NOVEMBER, 7, 0)):
        ledger.turn(day)
        assert ledger.used(KEY) == (before, before)
        ledger.add(KEY, count)
        if stored:
            content = saved(ledger, content)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_start_with_a_wrong_clock_forgets_no_bytes(wrong: str) -> None:
    before, after = Ledger(NOVEMBER), Ledger(wrong)
    before.add(KEY, 5)
    content = saved(before, b"")
    after.add(KEY, 1)
    content = saved(after, content)
    again = Ledger(wrong)
    content = saved(again, content)
    assert again.used(KEY) == (1, 1)
    for ledger in (after, again):
        ledger.turn(NOVEMBER)
        assert ledger.used(KEY) == (5, 5)


def test_the_last_day_goes_on_until_the_clock_is_set() -> None:
    before, after = Ledger(NOVEMBER), Ledger("1970-01-01")
    before.add(KEY, 5)
    content = saved(before, b"")
    saved(after, content)
    assert after.turn("1970-01-01")
    assert after.add(KEY, 1) == (6, 6)
    assert not after.turn("1970-01-02")
    assert after.turn("2026-11-27")
    assert after.used(KEY) == (0, 6)


def test_a_wrong_day_of_the_month_forgets_no_bytes() -> None:
    ledger = Ledger("2026-11-26")
    ledger.add(KEY, 5)
    ledger.turn("2026-11-27")
    ledger.add(KEY, 1)
    ledger.turn("2026-11-26")
    assert ledger.used(KEY) == (5, 6)


def test_few_days_and_months_are_kept() -> None:
    ledger, content = Ledger("2025-01-01"), b""
    for number in range(1, 10):
        ledger.turn(f"2026-0{number}-01")
        ledger.add(KEY, number)
        content = saved(ledger, content)
    assert content.count(b'"name"') == 6
    ledger.turn("2026-07-01")
    assert ledger.used(KEY) == (7, 7)
    ledger.turn("2026-01-01")
    assert ledger.used(KEY) == (0, 0)


@pytest.mark.parametrize(("zone", "day"), [("UTC", "2026-10-31"), ("Asia/Tokyo", "2026-11-01")])
def test_days_begin_in_the_time_zone(zone: str, day: str) -> None:
    assert day_at(1793476800.0, zone) == day


def test_sources_with_few_bytes_are_forgotten_first() -> None:
    ledger = Ledger("2026-11-26", most=3)
    ledger.add(("limits", ""), 1)
    ledger.add(("limits", "192.0.2.1"), 100)
    for number in range(100):
        ledger.add(("limits", f"2001:db8:0:{number:x}::/64"), 2)
    stored = Ledger("2026-11-26")
    draft = filled(ledger)
    kept = draft.onto(b"")
    for counts in draft.stored.values():
        assert len(counts) == 3
        assert {("limits", ""), ("limits", "192.0.2.1")} < set(counts)
    assert len(ledger.known()) <= 7
    second = filled(stored)
    second.onto(kept)
    assert second.stored == draft.stored


async def test_the_next_day_admits_users_again(net: Net) -> None:
    relay, clock, heard = (await net.server(free_port())).relay, Clock(), list[Notice]()
    news, clock.now = News(), 1.8e9  # in January
    news.listener = heard.append
    quotas = Quotas(relay, Timings(quota=0.01), news, NOWHERE, clock)
    await quotas.apply(LimitTables(Limits(bytes_per_day=10), ((443, Limits(bytes_per_month_per_source=15)),)))
    first, local = User("2001:db8::1"), User(LOCAL)
    quotas.count(first, 9)
    assert not quotas.objection(443, first.ip)
    quotas.count(local, 1)
    assert quotas.objection(444, LOCAL) == Objection("bytes_per_day", "limits")
    clock.now += 86400
    await until(lambda: not quotas.objection(444, LOCAL))
    quotas.count(first, 15)
    assert quotas.objection(443, "2001:db8::2") == Objection("bytes_per_month_per_source", "limits.443")
    assert not quotas.objection(443, LOCAL)
    assert quotas.used()["limits.443"]["bytes_per_month_per_source"] == 15
    clock.now += 86400
    await until(lambda: quotas.used()["limits"]["bytes_per_day"] == 0)
    assert quotas.objection(443, first.ip)
    clock.now += 31 * 86400
    await until(lambda: not quotas.objection(443, first.ip))
    assert [(notice.limit, notice.user) for notice in heard] == [
        ("bytes_per_day", ""),
        ("bytes_per_month_per_source", "2001:db8::/64"),
    ]
    await quotas.finish()


async def test_many_sources_that_are_used_up_are_forgotten_with_their_bytes(net: Net) -> None:
    relay = (await net.server(free_port())).relay
    quotas = Quotas(relay, Timings(), News(), NOWHERE, Clock(), most=4)
    await quotas.apply(LimitTables(Limits(bytes_per_day_per_source=10)))
    sources = [f"2001:db8:0:{number:x}::1" for number in range(100)]
    for number, ip in enumerate(sources):
        quotas.count(User(ip), 10 + number)
    refused = [ip for ip in sources if quotas.objection(443, ip)]
    assert refused[-1] == sources[-1]
    assert 4 <= len(refused) <= 32
    await quotas.finish()


async def test_a_client_has_a_quota_of_its_own(net: Net) -> None:
    net.timings = FAST
    company, heard = Company(net), list[Notice]()
    await company.start(["berlin", "paris"], own={"berlin": "bytes_per_month = 12\nmax_connections = 3"})
    company.server.news.listener = heard.append
    user, other = await net.dial(company.ports["berlin"]), await net.dial(company.ports["paris"])
    for one, answer in ((user, b"berlin123"), (other, b"paris123")):
        await one.send(b"123")
        assert await one.receive(len(answer)) == answer
    await until_reset(user)
    with pytest.raises(ConnectionResetError):
        await (await net.dial(company.ports["berlin"])).receive_some()
    assert heard == [Notice("limit", limit="bytes_per_month", client="berlin")]
    await other.send(b"!")
    assert await other.receive(6) == b"paris!"
    limits = {(one.table, one.limit): (one.most, one.used) for one in company.server.state().limits}
    assert limits == {("clients.berlin", "bytes_per_month"): (12, 12), ("clients.berlin", "max_connections"): (3, 0)}
    config = company.config(own={"berlin": "bytes_per_month = 100"})
    await company.server.reconfigure(config, diff(company.server.config, config))
    again = await net.dial(company.ports["berlin"])
    await again.send(b"!")
    assert await again.receive(7) == b"berlin!"
