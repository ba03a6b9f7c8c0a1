"""A line that dies without a word: it is noticed soon, and a line that is only slow is kept."""

import pytest
from tests.support.datagrams import UdpNet
from tests.support.middlebox import Line, Middlebox
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import LEGACY, Net, Tunnel
from tests.support.udp_clients import insist
from tests.support.udp_line import through_a_nat

from backhaul.tunnel.liveness import Liveness

# Only questions to the server reveal anything, and its own silence ends nothing.
ASKING = {"look": 0.02, "ask": 0.05, "ask_in_use": 0.05, "suspicion": 0.1, "silence": 3600.0}
NEVER = 3600.0

DEDICATED = pytest.mark.parametrize("any_net", ["tcp", "ws", "wss"], indirect=True)
BY_HTTP = pytest.mark.parametrize("any_net", ["ws", "wss", "wsmux", "wssmux"], indirect=True)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which clients asked their server because the line may be dead."""
    times: list[float] = []
    suspect = Liveness.suspect

    def listen(liveness: Liveness, now: float) -> bool:
        if asked := suspect(liveness, now):
            times.append(now)
        return asked

    monkeypatch.setattr(Liveness, "suspect", listen)
    return times


async def through_a_middlebox(net: Net, line: Line = Line(), lines: str = "") -> tuple[Tunnel, Middlebox]:  # noqa: B008 - immutable
    """Start a tunnel with an echo service, and wait until it is connected."""
    bind_port, port = free_port(), free_port()
    server = await net.server(bind_port, [f"{HOST}:{port}={await net.echo()}"], lines)
    middlebox = net.middlebox(bind_port, line)
    client = await net.client(middlebox.port, lines)
    tunnel = Tunnel(server, client, bind_port, [port], net)
    await until(lambda: tunnel.connected)
    return tunnel, middlebox


async def is_served(tunnel: Tunnel) -> None:
    """Assert that a new user is served."""
    await echo(await tunnel.user(), b"here again")


async def test_a_dead_line_is_left_when_another_connection_is_answered(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.timings = ASKING
    tunnel, middlebox = await through_a_middlebox(any_net)
    for path in middlebox.paths:
        path.freeze()
    await until(lambda: tunnel.server.tunnel.opened == 2)
    assert "but on another connection; reconnecting" in caplog.text
    await is_served(tunnel)


async def test_a_dead_line_of_udp_is_left_with_its_flows() -> None:
    """The router drops what comes from or goes to each present address inside, however often that is announced."""
    async with UdpNet("udp") as net:
        net.timings = ASKING
        net.patience = {"sign_of_life": NEVER}
        scene = await through_a_nat(net)
        await insist(scene.user)
        scene.nat.freeze()
        scene.control.paths[0].freeze()
        await insist(scene.user)
        assert scene.flows == 1
        await insist(scene.another_user(scene.echo.port))


async def test_a_line_on_which_no_connection_is_answered_is_left_at_last(
    any_net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    any_net.timings = ASKING | {"beside": 0.1}
    tunnel, middlebox = await through_a_middlebox(any_net)
    middlebox.hold()
    middlebox.paths[0].freeze()
    await until(lambda: not tunnel.client.tunnel.connected)
    assert "nor on other connections" in caplog.text


async def test_a_server_that_answers_is_asked_again_and_again_and_kept(any_net: Net, questions: list[float]) -> None:
    any_net.timings = ASKING | {"suspicion": NEVER}
    tunnel, _ = await through_a_middlebox(any_net)
    await until(lambda: len(questions) >= 5)
    assert tunnel.client.tunnel.opened == 1
    await is_served(tunnel)


async def test_a_long_line_is_kept_although_its_answers_come_late(any_net: Net, questions: list[float]) -> None:
    """An answer on another connection takes three times as long, or more: that one has to be opened."""
    any_net.timings = ASKING
    tunnel, _ = await through_a_middlebox(any_net, Line(delay=0.2))
    await until(lambda: len(questions) >= 5)
    assert tunnel.client.tunnel.opened == 1
    await is_served(tunnel)


async def test_a_line_that_works_again_is_kept(any_net: Net, questions: list[float]) -> None:
    """So is a server that was suspended: it answers on no connection, and then on all of them."""
    any_net.timings = ASKING | {"beside": NEVER}
    tunnel, middlebox = await through_a_middlebox(any_net)
    middlebox.hold()
    middlebox.paths[0].swallow()
    asked = len(questions)
    await until(lambda: len(questions) > asked)
    middlebox.paths[0].pass_on()
    await until(lambda: len(questions) > asked + 2)
    assert tunnel.client.tunnel.opened == 1


@DEDICATED
async def test_a_client_without_users_asks_less_often(any_net: Net, questions: list[float]) -> None:
    any_net.timings = ASKING | {"ask": NEVER, "recent": 0.0}
    tunnel, _ = await through_a_middlebox(any_net)
    assert not questions
    user = await tunnel.user()
    await echo(user, b"hello")
    await until(lambda: len(questions) >= 3)


@DEDICATED
async def test_a_client_asks_often_for_a_while_after_a_user(any_net: Net, questions: list[float]) -> None:
    any_net.timings = ASKING | {"ask": NEVER}
    tunnel, _ = await through_a_middlebox(any_net)
    user = await tunnel.user()
    await echo(user, b"hello")
    user.close()
    await until(lambda: not tunnel.server.relay.busy)
    await until(lambda: len(questions) >= 3)


@BY_HTTP
async def test_refused_tunnel_connections_cast_doubt_on_the_control_channel(any_net: Net) -> None:
    """The server has lost its control channel, and the client does not know."""
    any_net.timings = ASKING | {"ask": NEVER, "ask_in_use": NEVER, "refill_pauses": (0.02,)}
    tunnel, middlebox = await through_a_middlebox(any_net)
    await middlebox.paths[0].forget()
    await until(lambda: tunnel.server.tunnel.opened == 2)
    await is_served(tunnel)


async def test_v072_is_not_asked(any_net: Net, questions: list[float]) -> None:
    any_net.timings = ASKING
    tunnel, _ = await through_a_middlebox(any_net, lines=LEGACY)
    for _ in range(3):
        await is_served(tunnel)
    assert not questions
