"""The operations of the API on both ends of a real tunnel."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from tests.support.net import echo, until
from tests.support.tunnel import Net, Tunnel

from backhaul.administration import Administration
from backhaul.api.messages import Loaded
from backhaul.client import Client
from backhaul.errors import BackhaulError
from backhaul.monitor.events import EventLog
from backhaul.monitor.traffic import TrafficBoard
from backhaul.overview import reader, surveyor
from backhaul.reloads import Reloads
from backhaul.selection import Selection
from backhaul.server import Server


def administration(end: Server | Client, file: str = "unused.toml") -> Administration:
    events = EventLog()
    return Administration(
        end,
        Path(file),
        survey=surveyor(end.survey, events, file),
        events=events,
        reloads=Reloads(lambda: None),
        board=TrafficBoard(),
        config=lambda: end.config,
        reopen=lambda: "/var/log/access.log",
    )


async def start(net: Net) -> Tunnel:
    tunnel = await net.tunnel(await net.echo())
    await echo(await tunnel.user(), b"hello")
    return tunnel


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_drained_end_counts_the_users_who_are_left(net: Net, side: str) -> None:
    tunnel = await start(net)
    end = tunnel.server if side == "server" else tunnel.client
    operator = administration(end)
    drained = await operator.drain("")
    assert (drained.draining, drained.users) == (True, 1)
    assert [*end.close_users(Selection())] == [True]
    await until(lambda: reader(end.state, EventLog())().users == 0)
    assert not (await operator.status()).users
    assert not (await operator.resume("")).draining
    await until(lambda: tunnel.connected)


async def test_a_file_whose_name_is_no_utf8_has_a_name_in_json(net: Net) -> None:
    operator = administration((await start(net)).server, "/etc/\udcff.toml")
    names = [operator.file, (await operator.status()).config]
    assert json.loads(msgspec.json.encode(names)) == ["/etc/\\udcff.toml"] * 2


@pytest.mark.parametrize("side", ["server", "client"])
async def test_an_end_that_stops_is_neither_drained_nor_resumed(net: Net, side: str) -> None:
    """A client that is resumed would connect again."""
    tunnel = await start(net)
    end = tunnel.server if side == "server" else tunnel.client
    operator = administration(end)
    await operator.drain("")
    stopping = asyncio.create_task(net.stop(end))
    await until(lambda: end.stopping)
    for operation in (operator.drain, operator.resume):
        with pytest.raises(BackhaulError, match="stops"):
            await operation("")
    [*end.close_users(Selection())]
    await stopping


async def test_a_request_for_a_reload_that_comes_too_late_fails() -> None:
    reloads = Reloads(lambda: None)
    early = asyncio.create_task(reloads.ask())
    await until(lambda: reloads.requested)
    reloads.close()
    for late in (early, reloads.ask()):
        with pytest.raises(BackhaulError, match="stop"):
            await late


async def test_each_request_for_a_reload_gets_the_outcome_of_the_next_one() -> None:
    woken: list[None] = []
    reloads = Reloads(lambda: woken.append(None))
    first = asyncio.create_task(reloads.ask())
    impatient = asyncio.create_task(reloads.ask())
    await until(lambda: len(woken) == 2)
    impatient.cancel()
    tell = reloads.begin()
    assert not reloads.requested
    second = asyncio.create_task(reloads.ask())
    await until(lambda: reloads.requested)
    one, other = Loaded(loaded=True), Loaded(loaded=False)
    tell(one)
    assert await first is one
    reloads.begin()(other)
    assert await second is other
