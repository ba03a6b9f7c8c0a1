"""Throughput through a tunnel, measured by the doctor as user and target at once."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from tests.support.doctor import SOON, around, gathered, only
from tests.support.names import Names
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import Net, client_config

from backhaul.doctor import throughput
from backhaul.doctor.circumstances import Spare
from backhaul.doctor.finding import Finding, Verdict
from backhaul.wire.targets import Target

WAITS = replace(SOON, connect=5.0, transfer=0.1)


async def measured(
    port: int,
    target: int,
    transport: str = "tcp",
    host: str = HOST,
    **changes: Any,  # noqa: ANN401 - any field
) -> list[Finding]:
    config = client_config(transport, f"{host}:1")
    spare = Spare(port, Target(HOST, target))
    return await gathered(throughput.examine(config, around(**({"waits": WAITS} | changes)), spare))


@pytest.mark.parametrize("header", ["", 'proxy_protocol = "v2"'])
async def test_both_ways(net: Net, header: str) -> None:
    net.transport = "tcpmux"
    target = free_port()
    tunnel = await net.tunnel(f"{HOST}:{target}", server=header)
    finding = only(await measured(tunnel.ports[0], target), Verdict.OK)
    rates = r"[\d.]+ [GMk]bit/s to the target, [\d.]+ [GMk]bit/s to the user"
    assert re.fullmatch(f"port {tunnel.ports[0]} to target {HOST}:{target}: {rates}", finding.text)


async def test_a_target_that_is_in_use(net: Net) -> None:
    target = await net.echo()
    tunnel = await net.tunnel(target)
    finding = only(await measured(tunnel.ports[0], target))
    assert "can't listen on the target" in finding.text
    assert "use a spare port" in finding.remedy


async def test_a_port_that_the_server_does_not_have() -> None:
    finding = only(await measured(free_port(), free_port()))
    assert "the server's port can't be reached: refused" in finding.text
    assert "add it to `ports` of the server" in finding.remedy


async def test_a_user_who_reaches_the_target_without_the_tunnel() -> None:
    port = free_port()  # of a server on this machine, which does not have it
    finding = only(await measured(port, port))
    assert "reached the target directly, not through the tunnel" in finding.text
    assert "add the port to `ports` of the server" in finding.remedy


async def test_a_port_with_another_target(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo())
    finding = only(await measured(tunnel.ports[0], free_port(), waits=SOON))
    assert "the user did not arrive at the target" in finding.text
    assert "this target in `ports` of the server" in finding.remedy


async def test_users_who_come_meanwhile_are_closed(net: Net) -> None:
    """One of them sends nothing, one something else, and one has left."""
    target, names = free_port(), Names()
    tunnel = await net.tunnel(f"{HOST}:{target}")
    measuring = asyncio.ensure_future(measured(tunnel.ports[0], target, "tcp", "server.example", names=names))
    await until(lambda: names.asked)
    users = [await net.dial(target) for _ in range(3)]
    await users[1].send(b"x" * 2000)
    users[2].close()
    names.known["server.example"] = HOST
    names.let_go()
    assert only(await measuring, Verdict.OK)
    for user in users[:2]:
        await user.closed()


async def test_udp_is_not_measured() -> None:
    finding = only(await measured(1, 1, "udp"), Verdict.SKIPPED)
    assert finding.text == "not measured on transport udp"
