"""The tunnels of one client of transport udp on the server: which of them gets a flow, and which keeps it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.clock import Loop
from tests.support.datagrams import UdpNet, UdpPeer
from tests.support.net import HOST, until

from backhaul.net.pollers import make_poller
from backhaul.net.sockets import SocketOptions
from backhaul.net.udp import Counters
from backhaul.relay.copies import Copies
from backhaul.relay.flows import Flow, FlowTable
from backhaul.relay.patience import Patience
from backhaul.relay.traffic import Meter, Traffic
from backhaul.security.records import Cipher
from backhaul.security.session import SessionKeys, Side
from backhaul.transports.auth import Credentials
from backhaul.transports.carriers.udp_protected import ProtectedClient
from backhaul.transports.carriers.udp_socket import TunnelSocket
from backhaul.transports.carriers.udp_tunnels import ORDER_BITS, ClientTunnels
from backhaul.transports.settings import ServerSettings
from backhaul.wire.announcements import IDLE, Announcement
from backhaul.wire.datagrams import Batch
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

ONE, TWO, THREE = b"tunnel 1", b"tunnel 2", b"tunnel 3"
AT_ONCE = -1.0  # seconds
CIPHER = Cipher.AES_128_GCM


@dataclass
class Session:
    """A session of a client, with numbers from ``order`` on."""

    serial: int = 1
    instance: bytes = b"a process"
    protected: bool = True
    connected: bool = True
    signals: list[Signal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peer = Peer(instance=self.instance)
        self.keys = self.keys_of(Side.SERVER) if self.protected else None
        self.order = self.serial << ORDER_BITS

    def keys_of(self, side: Side) -> SessionKeys:
        return SessionKeys(bytes([self.serial]) * 32, side, CIPHER, payload=False)

    def send(self, signal: Signal) -> None:
        self.signals.append(signal)


class User:
    """The near end of a flow."""

    def send(self, batch: Batch) -> None:
        pass

    def close(self) -> None:
        pass


class Stage:
    """The tunnels of a client, on a socket of their own, and the client's addresses."""

    most_idle = 9

    def __init__(self, net: UdpNet, **seconds: float) -> None:
        self.poller = make_poller()
        self.settings = ServerSettings(
            bind_host=HOST, bind_port=0, credentials=Credentials({}), tunnel_options=SocketOptions()
        )
        self.socket = TunnelSocket(self.settings, self.poller)
        self.socket.open(self.settings)
        patience = Patience(**seconds)  # type: ignore[arg-type]
        relay: Any = SimpleNamespace(loop=asyncio.get_running_loop(), patience=patience, copies=Copies())
        self.tunnels = ClientTunnels(self.socket, relay, "")
        events: Any = self
        self.tunnels.report_to(events)
        self.fit = SimpleNamespace(proved=bool, seen=bool, ceased=bool)
        self.table = FlowTable()
        self.here, self.there = (net.udp() for _ in range(2))

    def tunnel_ready(self) -> None:
        """See TunnelEvents."""

    def connect(self, session: Session) -> Session:
        client: Any = session
        self.tunnels.client_connected(client)
        return session

    def announce(self, name: bytes, order: int, at: UdpPeer, number: int = IDLE) -> None:
        self.tunnels.announced(Announcement(name, number), order, at.sock.getsockname())

    def assign(self, data: bytes = b"first") -> Flow:
        """Assign a flow, whose user has sent ``data``."""
        flow = Flow(self.table, User(), "target", Traffic(Meter(), Meter()), Counters())
        flow.from_near([data])
        assert self.tunnels.assign(flow)
        return flow


@pytest.fixture
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with UdpNet("udp") as net:
        marker = request.node.get_closest_marker("timings")
        stage = Stage(net, **(marker.kwargs if marker else {}))
        yield stage
        stage.table.close()
        stage.tunnels.drop_idle()
        stage.socket.close()
        stage.poller.close()


async def heard(peer: UdpPeer, data: bytes) -> None:
    """Wait until a datagram has arrived, after any others."""
    await until(lambda: data in [datagram for datagram, _ in peer.heard])


async def test_the_tunnel_with_the_latest_sign_of_life_is_used_first(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    stage.announce(TWO, session.order + 1, stage.there)
    stage.announce(ONE, session.order + 2, stage.here)
    stage.assign(b"to the first")
    await heard(stage.here, b"to the first")
    stage.assign(b"to the second")
    await heard(stage.there, b"to the second")
    assert not stage.tunnels.idle


async def test_of_too_many_idle_tunnels_the_oldest_is_dropped(stage: Stage) -> None:
    session, stage.most_idle = stage.connect(Session()), 1
    for number, (name, at) in enumerate([(ONE, stage.here), (TWO, stage.there)]):
        stage.announce(name, session.order + number, at)
    assert (stage.tunnels.idle, stage.tunnels.dropped) == (1, 1)
    stage.assign(b"x")
    await heard(stage.there, b"x")


@pytest.mark.parametrize(
    ("serial", "number", "connected", "idle"),
    [(1, IDLE, True, 1), (0, IDLE, True, 0), (1, 5, True, 0), (1, IDLE, False, 0)],
    ids=["first number", "former session", "flow that has ended", "lost"],
)
async def test_only_an_idle_tunnel_of_the_present_session_is_new(
    stage: Stage, serial: int, number: int, *, connected: bool, idle: int
) -> None:
    stage.connect(Session(connected=connected))
    stage.announce(ONE, serial << ORDER_BITS, stage.here, number)
    assert stage.tunnels.idle == idle


async def test_an_announcement_that_was_overtaken_moves_nothing(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    stage.announce(ONE, session.order + 2, stage.there)
    stage.announce(ONE, session.order + 1, stage.here)
    stage.assign(b"x")
    await heard(stage.there, b"x")
    assert not stage.here.heard


async def test_a_flow_that_has_ended_leaves_its_name_to_another(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    stage.assign().close()
    stage.announce(ONE, session.order + 1, stage.there)
    stage.assign(b"again")
    await heard(stage.there, b"again")


@pytest.mark.timings(sign_of_life=AT_ONCE, replaced=AT_ONCE)
@pytest.mark.parametrize(
    ("first", "second", "stays"), [(b"a", b"a", True), (b"a", b"b", False), (b"", b"", False)], ids=str
)
async def test_a_client_that_returns_could_give_no_sign_of_life(
    stage: Stage, first: bytes, second: bytes, *, stays: bool
) -> None:
    session = stage.connect(Session(instance=first))
    stage.announce(ONE, session.order, stage.here)
    flow = stage.assign()
    stage.announce(ONE, session.order + 1, stage.here, number=1)
    flow.from_near([b"unanswered"])
    stage.tunnels.drop_idle()
    session = stage.connect(Session(2, second))
    stage.announce(TWO, session.order, stage.there)
    flow.from_near([b"to whom?"])
    await heard(stage.here if stays else stage.there, b"to whom?")


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_flow_that_a_lost_client_has_not_confirmed_moves(stage: Stage, *, confirmed: bool) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    flow = stage.assign()
    if confirmed:
        stage.announce(ONE, session.order + 1, stage.here, number=1)
    stage.tunnels.drop_idle()
    session = stage.connect(Session(2))
    stage.announce(TWO, session.order, stage.there)
    flow.from_near([b"second"])
    await heard(stage.here if confirmed else stage.there, b"second")
    assert (b"first" in [datagram for datagram, _ in stage.there.heard]) is not confirmed


async def test_no_flow_moves_on_a_socket_that_is_left(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    stage.announce(TWO, session.order + 1, stage.there)
    flow = stage.assign()
    stage.socket.close()
    assert stage.tunnels.replace(flow) is None
    assert flow.closed
    assert (stage.tunnels.idle, session.signals) == (1, [])


async def test_a_socket_is_closed_with_its_last_flow_unless_it_is_opened_again(stage: Stage) -> None:
    session = stage.connect(Session())
    for number, name in enumerate((ONE, TWO)):
        stage.announce(name, session.order + number, (stage.here, stage.there)[number])
    first, last = stage.assign(), stage.assign()
    other = replace(stage.settings, credentials=Credentials({}))
    stage.socket.close()
    stage.socket.open(other)
    assert stage.socket.announcers.credentials is other.credentials
    first.close()
    assert (stage.socket.is_open, stage.socket.leaving) == (True, False)
    stage.socket.close()
    assert stage.socket.is_open
    last.close()
    assert not stage.socket.is_open


async def test_a_socket_in_the_way_ends_with_its_flows(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    stage.announce(TWO, session.order + 1, stage.there)
    flow = stage.assign()
    stage.socket.end()
    assert flow.closed
    assert not stage.tunnels.idle
    assert not stage.socket.is_open


async def test_a_flow_that_moves_is_replaced_by_the_client(stage: Stage) -> None:
    session = stage.connect(Session())
    stage.announce(ONE, session.order, stage.here)
    flow = stage.assign()
    assert stage.tunnels.replace(flow) is None
    assert not flow.closed
    stage.announce(TWO, session.order + 1, stage.there)
    assert stage.tunnels.replace(flow)
    assert session.signals == [Signal.CHANNEL]


@pytest.mark.parametrize("kept", [False, True], ids=["without flows", "with a flow"])
async def test_former_sessions_are_expected_as_long_as_they_have_flows(stage: Stage, *, kept: bool) -> None:
    sessions = [Session(serial) for serial in (1, 2, 3)]
    for session in sessions:
        stage.connect(session)
        if kept and session.serial == 1:
            stage.announce(ONE, session.order, stage.here)
            stage.assign()
    expected = [bool(stage.socket.announcers.find(announcement_of(session)).sizes) for session in sessions]
    assert expected == [kept, True, True]


def announcement_of(session: Session) -> bytes:
    (datagram,) = ProtectedClient(session.keys_of(Side.CLIENT), Copies()).announce(ONE, IDLE)
    return bytes(datagram)


@pytest.mark.parametrize(
    ("protected", "connected", "idle"), [(False, True, 1), (True, True, 0), (False, False, 0)], ids=str
)
async def test_a_token_is_an_announcement_of_v072_alone(
    stage: Stage, *, protected: bool, connected: bool, idle: int
) -> None:
    stage.connect(Session(protected=protected, connected=connected))
    for _ in range(2):
        stage.tunnels.announced_unnamed(stage.here.sock.getsockname())
    assert stage.tunnels.idle == idle


async def test_a_repeated_token_ends_no_flow(stage: Stage) -> None:
    stage.connect(Session(protected=False))
    stage.tunnels.announced_unnamed(stage.here.sock.getsockname())
    flow = stage.assign()
    stage.tunnels.announced_unnamed(stage.here.sock.getsockname())
    assert not flow.closed
    assert not stage.tunnels.idle


async def test_a_client_of_v072_that_returns_is_pinged_by_one_timer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: loop)
        relay: Any = SimpleNamespace(loop=loop, patience=Patience(), copies=Copies())
        tunnels = ClientTunnels(stage.socket, relay, "")
    for serial in (1, 2):
        session: Any = Session(serial, protected=False)
        tunnels.client_connected(session)
        loop.run_for(60)
        assert loop.waiting == 1
        tunnels.drop_idle()
        assert not loop.waiting
