"""The client's notice of another way to the server."""

import pytest
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net

from backhaul.net.sockets import SocketOptions
from backhaul.net.source import source_of
from backhaul.tunnel.whereabouts import Whereabouts

NO_SLEEP = 3600.0
ANY_WAY = SocketOptions()


def watch(monkeypatch: pytest.MonkeyPatch, *sources: str) -> Whereabouts:
    """Return whereabouts that have begun, with the sources of the ways to the server in the order of the looks."""
    server, upcoming = "192.0.2.1", iter(sources)
    monkeypatch.setattr("backhaul.tunnel.whereabouts.source_of", lambda to, _: next(upcoming) if to == server else "")
    whereabouts = Whereabouts(NO_SLEEP)
    whereabouts.begin(server)
    return whereabouts


def test_the_same_way_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    whereabouts = watch(monkeypatch, "10.0.0.1", "10.0.0.1", "10.0.0.1")
    assert [whereabouts.changed(), whereabouts.changed()] == [False, False]


def test_another_way_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whereabouts = watch(monkeypatch, "10.0.0.1", "10.0.0.2", "10.0.0.2")
    assert [whereabouts.changed(), whereabouts.changed()] == [True, False]


def test_a_way_that_returns_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile the kernel has waited longer and longer before it sends again."""
    whereabouts = watch(monkeypatch, "10.0.0.1", "", "", "10.0.0.1", "10.0.0.1")
    assert [whereabouts.changed() for _ in range(4)] == [False, False, True, False]


def test_a_sleep_is_a_change_on_the_same_way() -> None:
    whereabouts = Whereabouts(-1.0)
    whereabouts.begin(HOST)
    assert whereabouts.changed()


@pytest.mark.parametrize("address", [HOST, "::1"])
def test_this_machine_is_reached_from_itself(address: str) -> None:
    assert source_of(address, ANY_WAY) == address


@pytest.mark.parametrize("address", ["", "example.invalid", "unix:/run/x.sock"])
def test_only_addresses_have_a_source(address: str) -> None:
    assert not source_of(address, ANY_WAY)


def test_an_interface_that_is_missing_is_no_way() -> None:
    assert not source_of(HOST, SocketOptions(interface="missing0"))


async def test_a_server_that_does_not_answer_on_another_way_is_given_up(
    any_net: Net, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a hint the client would wait for its heartbeat, or for the kernel to give up after 30 seconds."""
    any_net.timings = {"look": 0.02, "silence": 3600, "suspicion": 0.1}
    bind_port, port = free_port(), free_port()
    await any_net.server(bind_port, [f"{HOST}:{port}={await any_net.echo()}"])
    middlebox = any_net.middlebox(bind_port)
    client = await any_net.client(middlebox.port)
    await until(lambda: client.tunnel.connected)
    middlebox.paths[0].freeze()
    monkeypatch.setattr("backhaul.tunnel.whereabouts.source_of", lambda *_: "192.0.2.2")
    await until(lambda: client.tunnel.opened > 1)
    assert "control channel lost: no answer within" in caplog.text
    await echo(await any_net.dial(port), b"here again")
