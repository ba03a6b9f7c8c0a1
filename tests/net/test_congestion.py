"""Congestion control within a machine, where BBR is avoided."""

import itertools
import socket

import pytest
from tests.support.inside import MUCH, at, towards, used
from tests.support.net import HOST, echo
from tests.support.tunnel import Net

from backhaul.net import congestion


def control_of(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def default() -> bytes:
    """The system's default for a new socket."""
    with socket.socket() as sock:
        return control_of(sock)


class TestChoice:
    def test_where_the_default_paces(self, default: bytes) -> None:
        assert congestion.unpaced(default[:2], (b"unheard-of", b"reno")) == b"reno"

    def test_where_nothing_else_is_allowed(self, default: bytes) -> None:
        assert congestion.unpaced(default, (b"unheard-of",)) == b""

    def test_any_other_default_stays(self) -> None:
        assert congestion.unpaced(b"unheard-of") == b""

    def test_this_system(self, default: bytes) -> None:
        assert bool(congestion.unpaced()) == default.startswith(b"bbr")


@pytest.mark.parametrize(
    ("host", "suited"),
    [
        *((host, True) for host in (HOST, "127.8.9.1", "::1", "::ffff:127.0.0.1")),
        *((host, False) for host in ("192.0.2.1", "::", "0.0.0.0", "::ffff:192.0.2.1", "::12")),
    ],
)
def test_only_within_this_machine(monkeypatch: pytest.MonkeyPatch, default: bytes, host: str, *, suited: bool) -> None:
    monkeypatch.setattr(congestion, "unpaced", lambda: b"reno")
    with socket.socket() as sock:
        congestion.avoid_pacing(sock, host)
        assert control_of(sock) == (b"reno" if suited else default)


def test_an_algorithm_that_is_refused_later(monkeypatch: pytest.MonkeyPatch, default: bytes) -> None:
    monkeypatch.setattr(congestion, "unpaced", lambda: b"unheard-of")
    with socket.socket() as sock:
        congestion.avoid_pacing(sock, HOST)
        assert control_of(sock) == default


@pytest.mark.parametrize("bind", [f"{HOST}:", ""], ids=["loopback", "every address"])
async def test_each_of_the_four_sockets_of_a_user(net: Net, monkeypatch: pytest.MonkeyPatch, bind: str) -> None:
    monkeypatch.setattr(congestion, "unpaced", lambda: b"reno")
    tunnel = await net.tunnel(await net.echo())
    port, target = tunnel.ports[0], tunnel.server.config.ports[0].target
    if not bind:
        await net.stop(tunnel.server)
        tunnel.server = await net.server(tunnel.bind_port, [f"{port}={target}"])
    user = await tunnel.user()
    await echo(user, bytes(MUCH))
    ends = itertools.chain(at(port), towards(int(target)), used(tunnel.bind_port))
    assert [control_of(sock) for sock in ends] == [b"reno"] * 4
