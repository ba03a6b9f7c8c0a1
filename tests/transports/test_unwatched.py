"""Connections on their way, which the kernel can't watch for lack of memory: each has one outcome."""

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import HOST, free_port
from tests.support.tunnel import Net

from backhaul.net.deadlines import Deadlines
from backhaul.net.tls import ClientContext, ClientTls, shake_hands
from backhaul.relay.reclaimer import Tide
from backhaul.transports.doors.http_upgrade import Upgrade, Upgraded
from backhaul.transports.gates.handshakes import Handshakes
from backhaul.transports.gates.lobby import Lobby, PendingConnection
from backhaul.transports.gates.reputation import Reputation
from backhaul.transports.settings import DEFAULT_LIMITS
from backhaul.wire.upgrade import AnswerReader


@pytest.fixture
async def poller() -> AsyncIterator[ExhaustedPoller]:
    poller = ExhaustedPoller()
    yield poller
    poller.close()


async def test_an_upgrade_fails(net: Net, poller: ExhaustedPoller) -> None:
    (near, _), outcomes = await net.pair(), list[Upgraded | Exception]()
    running: Deadlines[Upgrade] = Deadlines(1, Upgrade.cancel)
    upgrade = Upgrade(poller, running, lambda _sock: b"GET", AnswerReader(b""), outcomes.append, for_users=True)
    running.add(upgrade)
    upgrade.start(near.sock, None)
    assert [str(outcome) for outcome in outcomes] == ["[Errno 12] Cannot allocate memory"]
    assert near.sock.fileno() < 0
    assert not len(running)


async def test_a_handshake_of_tls_fails(net: Net, poller: ExhaustedPoller) -> None:
    (near, _), outcomes = await net.pair(), list[socket.socket | Exception]()
    tls = ClientContext(ClientTls(HOST)).wrap(near.sock)
    shake_hands(poller, tls, outcomes.append)
    assert [str(outcome) for outcome in outcomes] == ["TLS handshake failed: cannot allocate memory"]
    assert tls.fileno() < 0


async def test_one_in_a_lobby_is_closed(net: Net, poller: ExhaustedPoller) -> None:
    near, _ = await net.pair()
    tide = Tide(1, lambda: None)
    lobby: Lobby[PendingConnection] = Lobby(
        poller, Reputation(DEFAULT_LIMITS), print, limit=1, share=1, seconds=60, tide=tide
    )
    lobby.admit(pending := PendingConnection(near.sock, HOST))
    lobby.listen(pending)
    assert not len(lobby)
    assert near.sock.fileno() < 0


async def test_the_handshake_of_one_in_a_lobby_fails(net: Net, poller: ExhaustedPoller) -> None:
    (near, _), failed = await net.pair(), list[str]()
    context: Any = None  # is not reached
    handshakes: Handshakes[PendingConnection] = Handshakes(
        poller, context, print, print, lambda _pending, error: failed.append(str(error)), share=1, patience=1
    )
    handshakes.begin(PendingConnection(near.sock, HOST))
    assert failed == ["[Errno 12] Cannot allocate memory"]


async def test_a_tunnel_of_udp_is_left_out(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    pollers = list[ExhaustedPoller]()

    def make() -> ExhaustedPoller:
        pollers.append(ExhaustedPoller(lambda _owner: False))
        return pollers[0]

    monkeypatch.setattr("backhaul.client.make_poller", make)
    net.transport = "udp"
    transport = (await net.tunnel(free_port())).client.tunnel.transport
    idle = transport.idle
    pollers[0].short = lambda _owner: True
    transport.open()
    pollers[0].short = lambda _owner: False
    assert transport.idle == idle
    transport.open()
    assert transport.idle == idle + 1
