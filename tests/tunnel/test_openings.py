"""Tunnel connections that can't be opened, although the control channel is fine."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from tests.support.behind import Behind
from tests.support.net import Listener, until
from tests.support.protected import Control, ProtectedServer
from tests.support.tunnel import Net

from backhaul.client import Client
from backhaul.tunnel.openings import Openings
from backhaul.wire.signals import Signal

PAUSES = (1.0, 2.0, 4.0)
REFUSED = "tunnel connections can't be opened: connection refused"
CUT = (
    "tunnel connections can't be opened: each is closed at once; a firewall or proxy may let only the control channel "
    "pass"
)


@pytest.fixture
def openings() -> Openings:
    return Openings(PAUSES, logging.getLogger("backhaul.client"))


def test_one_round_of_failures_is_normal(openings: Openings, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(8):
        openings.failed("connection refused", now=10.0)
    assert not openings.problem
    assert not caplog.text


def test_pauses_grow_with_each_round(openings: Openings) -> None:
    now = 10.0
    for pause in (1.0, 2.0, 4.0, 4.0):
        openings.failed("connection refused", now)
        assert not openings.due(now + 0.9 * pause)
        now += pause
        assert openings.due(now)


def test_a_proxy_may_ask_for_a_longer_pause(openings: Openings) -> None:
    openings.failed("too many", 10.0, asked=3.0)
    assert not openings.due(12.9)
    assert openings.due(13.0)
    openings.failed("too many", 13.0, asked=3600.0)
    assert openings.due(13.0 + PAUSES[-1])


def test_a_server_that_changes_its_mind_without_end_does_not_fill_the_log(
    openings: Openings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for now in range(0, 100, 10):
        openings.failed("connection refused", now)
        openings.failed("connection refused", now + 5.0)
        openings.opened()
    assert len(caplog.records) == 2


def test_the_second_round_is_a_problem(openings: Openings, caplog: pytest.LogCaptureFixture) -> None:
    openings.failed("connection refused", now=10.0)
    for now in (20.0, 20.1):
        openings.failed("connection refused", now)
    assert openings.problem == REFUSED
    assert caplog.text.count(REFUSED) == 1


def test_a_connection_that_opens_ends_the_problem(openings: Openings) -> None:
    for now in (10.0, 20.0):
        openings.failed("connection refused", now)
    openings.opened()
    assert openings.due(20.0)
    assert not openings.problem


@pytest.mark.timings(refill_pauses=(0.02,), look=0.01)
async def test_a_client_that_opens_none_is_not_connected(behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await behind.control()
    behind.listener.close()
    await until(lambda: behind.client.state().session.problem == REFUSED)
    assert not behind.client.state().session.connected
    behind.listener = behind.net.listen(behind.listener.port)
    await behind.carriers(2)
    await until(lambda: behind.client.state().session.connected)
    await until(lambda: "tunnel connections can be opened again" in caplog.text)


class Middlebox:
    """Lets the control channel pass, and resets tunnel connections until it is stopped."""

    def __init__(self, listener: Listener, control: Control) -> None:
        self._tasks = [asyncio.create_task(self._answer(control)), asyncio.create_task(self._reset(listener))]

    async def _answer(self, control: Control) -> None:
        while True:
            if await control.receive() == Signal.PROBE:
                await control.send(Signal.ANSWER)

    async def _reset(self, listener: Listener) -> None:
        while True:
            (await listener.accept()).reset()

    async def open(self) -> None:
        """Let tunnel connections pass."""
        await self._cancel(self._tasks.pop())

    async def stop(self) -> None:
        """Do nothing more."""
        for task in self._tasks:
            await self._cancel(task)

    async def _cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def cut(net: Net, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Client, Listener, Middlebox]]:
    """Start a client whose tunnel connections are reset, although the control channel is protected."""
    net.transport = request.param
    net.timings = {"refill_pauses": (0.02,), "look": 0.03}
    listener = net.listen()
    client = await net.client(listener.port, 'security = "auto"', connection_pool=2)
    middlebox = Middlebox(listener, await ProtectedServer().accept(await listener.accept()))
    yield client, listener, middlebox
    await middlebox.stop()


@pytest.mark.parametrize("cut", ["tcp", "tcpmux"], indirect=True)
async def test_connections_that_are_closed_at_once_are_none(
    cut: tuple[Client, Listener, Middlebox], caplog: pytest.LogCaptureFixture
) -> None:
    client, _, _ = cut
    await until(lambda: client.state().session.problem == CUT)
    assert not client.state().session.connected
    assert CUT in caplog.text


@pytest.mark.parametrize("cut", ["tcp"], indirect=True)
async def test_connections_that_last_end_the_problem(
    cut: tuple[Client, Listener, Middlebox], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client, listener, middlebox = cut
    await until(lambda: CUT in caplog.text)
    await middlebox.open()
    await listener.accept()
    await until(lambda: "tunnel connections can be opened again" in caplog.text)
    assert client.state().session.connected
