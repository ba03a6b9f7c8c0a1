"""A server of ours whose client is played by the test."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.behind import Behind
from tests.support.net import free_port
from tests.support.public import TARGET, Public
from tests.support.tunnel import NO_WAIT, Net

from backhaul.tunnel.timings import Timings


@pytest.fixture
def short_handshake(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop peers that prove nothing soon; to be named before `public` or `behind`."""
    net.limits = replace(net.limits, handshake_timeout=0.1)
    monkeypatch.setattr("backhaul.transports.doors.raw.HANDSHAKE_TIMEOUT", 0.1)


@pytest.fixture
async def public(net: Net, request: pytest.FixtureRequest) -> Public:
    """Start a server; marks add to it: `config` lines or other keys, `limits` of its gate, `timings` its waits."""
    marker = request.node.get_closest_marker("config")
    lines: str = marker.args[0] if marker and marker.args else ""
    unchecked: dict[str, Any] = marker.kwargs if marker else {}
    port, user_port = free_port(), free_port()
    if limits := request.node.get_closest_marker("limits"):
        net.limits = replace(net.limits, **limits.kwargs)
    paced = request.node.get_closest_marker("timings")
    timings = Timings(quiet=0, **paced.kwargs) if paced else NO_WAIT
    server = await net.server(port, [f"127.0.0.1:{user_port}={TARGET}"], lines, timings=timings, **unchecked)
    return Public(net, server, port, user_port)


@pytest.fixture
async def behind(net: Net, request: pytest.FixtureRequest) -> Behind:
    """Start a client with a pool of two; the mark `config` adds lines to its file or replaces keys."""
    marker = request.node.get_closest_marker("config")
    lines: str = marker.args[0] if marker and marker.args else ""
    unchecked: dict[str, Any] = marker.kwargs if marker else {}
    listener = net.listen()
    client = await net.client(listener.port, lines, **({"connection_pool": 2} | unchecked))
    return Behind(net, client, listener)
