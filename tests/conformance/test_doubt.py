"""A server with slow heartbeats is asked for a sign of life before it is given up, if it can be asked."""

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import IN_A_HURRY, IN_DOUBT, LEGACY, Net
from tests.support.v072 import accept_control

from backhaul.tunnel.liveness import Liveness


async def test_a_server_that_answers_is_kept(doubts: list[float], any_net: Net) -> None:
    any_net.timings = IN_DOUBT
    tunnel = await any_net.tunnel(await any_net.echo(), server="heartbeat = 3600")
    await until(lambda: len(doubts) >= 2)
    assert tunnel.client.tunnel.opened == 1
    await echo(await tunnel.user(), b"still here")


async def given_up(net: Net) -> int:
    """Freeze the line of a client until it connects again; return the port for users."""
    bind_port, port = free_port(), free_port()
    await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"])
    middlebox = net.middlebox(bind_port)
    client = await net.client(middlebox.port)
    await until(lambda: client.tunnel.connected)
    middlebox.paths[0].freeze()
    await until(lambda: client.tunnel.opened > 1)
    return port


async def test_a_server_that_does_not_is_given_up(
    doubts: list[float], any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.timings = IN_A_HURRY
    port = await given_up(any_net)
    assert len(doubts) >= 1
    assert "control channel lost: no heartbeat" in caplog.text
    await echo(await any_net.dial(port), b"here again")


def times_of(monkeypatch: pytest.MonkeyPatch, method: str) -> list[float]:
    """Return a list that gets the time of each call of a method of ``Liveness``."""
    times: list[float] = []
    original = getattr(Liveness, method)

    def listen(liveness: Liveness, now: float) -> object:
        times.append(now)
        return original(liveness, now)

    monkeypatch.setattr(Liveness, method, listen)
    return times


@pytest.fixture
def suspicions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which servers were asked because something else was silent, too, or after a sleep."""
    return times_of(monkeypatch, "suspect")


async def test_a_server_that_answers_after_a_sleep_is_kept(suspicions: list[float], any_net: Net) -> None:
    any_net.timings = {"look": 0.02, "nap": -1.0}
    tunnel = await any_net.tunnel(await any_net.echo(), server="heartbeat = 3600")
    await until(lambda: len(suspicions) >= 3)
    assert tunnel.client.tunnel.opened == 1
    await echo(await tunnel.user(), b"still here")


async def test_a_server_that_does_not_answer_after_a_sleep_is_given_up(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    """Its silence alone would last for an hour."""
    any_net.timings = {"look": 0.02, "nap": -1.0, "silence": 3600, "suspicion": 0.1}
    port = await given_up(any_net)
    assert "control channel lost: no answer within" in caplog.text
    await echo(await any_net.dial(port), b"here again")


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which clients received a heartbeat."""
    return times_of(monkeypatch, "beat")


@pytest.mark.parametrize("any_net", ["tcpmux"], indirect=True)
async def test_a_server_that_cannot_be_asked_may_be_silent(beats: list[float], any_net: Net) -> None:
    """The silence is longer than an impatient client waits for a server that it can ask."""
    any_net.timings = IN_A_HURRY
    bind_port, port = free_port(), free_port()
    await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"], heartbeat=0.7)
    client = await any_net.client(bind_port, LEGACY)
    user = await any_net.dial(port)
    await echo(user, b"hello")
    await until(lambda: len(beats) >= 2)
    assert client.tunnel.opened == 1
    await echo(user, b"still here")


async def test_a_protected_server_can_be_asked(any_net: Net) -> None:
    tunnel = await any_net.tunnel()
    assert tunnel.client.tunnel.transport.can_ask


async def test_v072_cannot_be_asked_over_tcp(net: Net) -> None:
    listener = net.listen()
    client = await net.client(listener.port, LEGACY)
    await accept_control(await listener.accept())
    await until(lambda: client.tunnel.connected)
    assert not client.tunnel.transport.can_ask
