"""Limits of the users of one client: lists of networks, and limits of time."""

import asyncio
from pathlib import Path

import pytest
from tests.support.clients import Company, ask
from tests.support.datagrams import UdpNet, repeat
from tests.support.net import HOST, until, until_reset
from tests.support.tunnel import Net
from tests.support.udp_clients import UdpCompany

from backhaul.config import ServerConfig
from backhaul.config.diff import diff
from backhaul.reports import UserEnd
from backhaul.server import Server

OFTEN = {"expiry": 0.01, "lists": 0.01}
LONG = "idle_timeout = 3600\nmax_lifetime = 3600\n"
TIMES = pytest.mark.parametrize("limit", ["idle_timeout", "max_lifetime"])


async def load(server: Server, config: ServerConfig) -> None:
    await server.reconfigure(config, diff(server.config, config))


def company_of(net: Net) -> Company:
    """Return a company whose server looks at files and users often."""
    net.timings = OFTEN
    return Company(net)


async def turned_away(company: Company, name: str) -> None:
    with pytest.raises(ConnectionResetError):
        await (await company.net.dial(company.ports[name])).receive_some()


def refusals(server: Server, name: str) -> dict[str, int]:
    """Return the refused users of a client by reason."""
    (port,) = server.tunnels[name].state().ports
    return {refusal.reason: refusal.count for refusal in port.refusals}


def networks(server: Server) -> dict[tuple[str, str], int]:
    """Return the sizes of the lists in force."""
    return {(one.table, one.limit): one.most for one in server.state().limits if one.unit == "networks"}


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
@pytest.mark.parametrize(
    ("line", "reason", "key"),
    [('deny = ["127.0.0.0/8"]', "denied", "deny"), ('allow = ["10.0.0.0/8"]', "not_allowed", "allow")],
)
async def test_a_client_refuses_addresses_until_a_reload_lifts_that(
    transport: str, line: str, reason: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net:
        company = company_of(net)
        await company.start(["berlin", "paris"])
        present = await company.user("berlin")
        await load(company.server, company.config(own={"berlin": f"{line}\nmax_connections = 1"}))
        assert networks(company.server) == {("clients.berlin", key): 1}
        await turned_away(company, "berlin")
        assert refusals(company.server, "berlin") == {reason: 1}
        assert f"clients.berlin.{key} or {key}_file contains this address" in caplog.text
        await company.user("paris")
        await ask(present, "berlin")
        await load(company.server, company.config())
        await company.user("berlin")


async def test_users_must_satisfy_the_lists_of_port_and_client() -> None:
    async with Net("tcp") as net:
        company = company_of(net)
        await company.start(["berlin", "paris"])
        own = dict.fromkeys(company.ports, f'allow = ["{HOST}"]')
        await load(company.server, company.config('[server.limits]\ndeny = ["127.0.0.0/8"]', own))
        await turned_away(company, "berlin")
        await load(company.server, company.config(f'[server.limits]\nallow = ["{HOST}"]', own))
        await company.user("berlin")
        await load(company.server, company.config(own=own | {"paris": 'allow = ["10.0.0.0/8"]'}))
        await company.user("berlin")
        await turned_away(company, "paris")


@pytest.mark.parametrize("key", ["allow_file", "deny_file"])
async def test_the_files_of_a_client_are_watched(key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "networks"
    here = f"192.0.2.0/24\n{HOST}\n"
    before, after = (here, "10.0.0.0/8\n") if key == "allow_file" else ("10.0.0.0/8\n", here)
    path.write_text(before)
    async with Net("tcp") as net:
        company = company_of(net)
        await company.start(["berlin"], own={"berlin": f'{key} = "{path}"'})
        await company.user("berlin")
        path.write_text(after)
        await until(lambda: f"clients.berlin.{key}: {path}: read again" in caplog.text)
        await turned_away(company, "berlin")


async def test_datagrams_of_addresses_that_a_client_refuses_are_dropped() -> None:
    async with UdpNet("udp") as net:
        company = UdpCompany(net)
        await company.start(["berlin", "paris"])
        await load(company.server, company.config({"berlin": 'deny = ["127.0.0.0/8"]'}))
        user = company.user("berlin")
        await repeat(lambda: user.send(b"?"), lambda: "denied" in refusals(company.server, "berlin"))
        assert await company.user("paris").ask(b"?") == b"paris:?"
        await load(company.server, company.config())
        assert await company.user("berlin").ask(b"?") == b"berlin:?"


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
@TIMES
async def test_a_limit_of_time_of_a_client_ends_present_users_of_it_alone(transport: str, limit: str) -> None:
    async with Net(transport) as net:
        company, ends = company_of(net), list[UserEnd]()
        await company.start(["berlin", "paris"])
        company.server.report_to(ends.append)
        short, other = await company.user("berlin"), await company.user("paris")
        await load(company.server, company.config(f"[server.limits]\n{LONG}", {"berlin": f"{limit} = 1"}))
        await until_reset(short)
        await ask(other, "paris")
        assert [(end.client, end.ending) for end in ends] == [("berlin", "limit")]
        assert (limit, 1) in [(one.limit, one.most) for one in company.server.state().limits]


@TIMES
async def test_the_shorter_time_wins(limit: str) -> None:
    async with Net("tcp") as net:
        company = company_of(net)
        await company.start(["berlin", "paris"])
        users = [await company.user(name) for name in ("berlin", "paris")]
        own, port = {"berlin": f"{limit} = 1", "paris": LONG}, company.ports
        tables = f"[server.limits.{port['berlin']}]\n{LONG}[server.limits.{port['paris']}]\n{limit} = 1\n"
        await load(company.server, company.config(tables, own))
        await asyncio.gather(*map(until_reset, users))


@TIMES
async def test_a_limit_of_time_of_a_client_ends_flows(limit: str) -> None:
    async with UdpNet("udp") as net:
        net.timings = OFTEN
        company, ends = UdpCompany(net), list[UserEnd]()
        await company.start(["berlin", "paris"])
        company.server.report_to(ends.append)
        for name in ("paris", "berlin"):
            await company.user(name).ask(b"?")
        await load(company.server, company.config({"berlin": f"{limit} = 1"}))
        await until(lambda: ends)
        assert [(end.client, end.ending) for end in ends] == [("berlin", "limit")]
