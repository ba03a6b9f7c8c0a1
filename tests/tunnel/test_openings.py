"""Tunnel connections that can't be opened, although the control channel is fine."""

import logging

import pytest
from tests.support.behind import Behind
from tests.support.net import until

from backhaul.tunnel.openings import Openings

PAUSES = (1.0, 2.0, 4.0)
REFUSED = "tunnel connections can't be opened: connection refused"


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
    assert "tunnel connections can be opened again" in caplog.text
