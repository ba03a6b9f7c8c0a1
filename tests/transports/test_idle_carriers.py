"""Idle tunnel connections of a server that are blocked or dead when a user arrives."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import Peer, ready, until
from tests.support.peers import EXTENDED
from tests.support.stage import CarrierStage, running_relay
from tests.support.tunnel import Net
from tests.support.web import BINARY, PING, PONG, TEXT, frame, receive_frame

from backhaul.net.deadlines import Deadlines
from backhaul.net.sockets import USED_INTERVAL
from backhaul.net.udp import Counters, DatagramQueue
from backhaul.relay.engine import Relay
from backhaul.relay.flows import Flow
from backhaul.relay.lent_channel import LentChannel
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.outcome import Ending
from backhaul.relay.patience import Patience
from backhaul.relay.traffic import Meter, Traffic
from backhaul.relay.websocket_codec import WebSocketCodec
from backhaul.transports.carriers.dedicated_server import IdleCarrier
from backhaul.transports.carriers.messages import MessageArrival
from backhaul.transports.carriers.raw import RawIdle
from backhaul.transports.carriers.websocket import WsIdle
from backhaul.transports.connection import Connection
from backhaul.transports.user import User
from backhaul.wire.datagrams import join
from backhaul.wire.frames import encode
from backhaul.wire.signals import Signal
from backhaul.wire.targets import UDP_PREFIX
from backhaul.wire.websocket import FrameParser, MessageReader

TARGET = "192.0.2.1:80"
FLOW = join([b"one", b"two"])
USER = {RawIdle: encode(Signal.TCP, TARGET.encode()) + b"hello", WsIdle: frame(TEXT, TARGET.encode())}
USER[WsIdle] += frame(BINARY, b"hello")
FLOWS = {
    RawIdle: encode(Signal.UDP, TARGET.encode()) + FLOW,
    WsIdle: frame(TEXT, UDP_PREFIX.encode() + TARGET.encode()),
}
FLOWS[WsIdle] += frame(BINARY, FLOW)
Kind = type[RawIdle] | type[WsIdle]
KINDS: list[Kind] = [RawIdle, WsIdle]


@dataclass(eq=False)
class Stage(CarrierStage):
    """Makes connections and users. No connection comes back after its user."""

    returning: Deadlines[LentChannel] = field(default_factory=lambda: Deadlines(1, LentChannel.close))

    def carrier_wanted(self, carrier: IdleCarrier, users: int, opened: float) -> bool:
        """See CarrierOwner."""
        raise AssertionError(carrier, users, opened)

    def carrier_free(self, carrier: IdleCarrier) -> None:
        """See CarrierOwner."""
        raise AssertionError(carrier)

    async def idle(self, kind: Kind, rest: bytes = b"") -> tuple[IdleCarrier, Peer, Peer]:
        """Return an idle connection, and both its ends."""
        near, far = await self.net.pair()
        return kind(self.relay, Connection(near.sock, EXTENDED, rest), self), near, far

    async def user(self, early: bytes = b"") -> User:
        """Return a user who has sent something already."""
        user, sock = await self.net.pair()
        await user.send(early)
        return User(sock.sock, TARGET, b"", Traffic(Meter(), Meter()), lambda _outcome: None)


@pytest.fixture
async def stage(net: Net) -> AsyncIterator[Stage]:
    async with running_relay() as relay:
        yield Stage(net, relay)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_announcement_of_a_user_waits_for_the_connection(stage: Stage, kind: Kind) -> None:
    carrier, near, far = await stage.idle(kind)
    before = near.fill()
    assert carrier.attach(await stage.user(b"hello"))
    assert await far.receive(before) == bytes(before)
    assert await far.receive(len(USER[kind])) == USER[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_announcement_of_a_flow_waits_for_the_connection(stage: Stage, kind: Kind) -> None:
    carrier, near, far = await stage.idle(kind)
    before, counters = near.fill(), Counters()
    flow = Flow(stage.relay.flows, DatagramQueue(counters), TARGET, Traffic(Meter(), Meter()), counters)
    flow.from_near([b"one", b"two"])
    assert carrier.attach_flow(flow)
    assert await far.receive(before) == bytes(before)
    assert await far.receive(len(FLOWS[kind])) == FLOWS[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dead_connection_takes_no_bytes_of_a_user(stage: Stage, kind: Kind) -> None:
    carrier, near, far = await stage.idle(kind)
    far.reset()
    user = await stage.user(b"hello")
    assert not carrier.attach(user)
    assert near.sock.fileno() < 0
    other, _, far = await stage.idle(kind)
    assert other.attach(user)
    assert await far.receive(len(USER[kind])) == USER[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_users_reset_seen_on_a_dead_connection_is_remembered(stage: Stage, kind: Kind) -> None:
    """The kernel reports it once; the target should get a reset instead of an orderly end."""
    ended: list[Ending] = []
    sock, peer = await stage.net.pair()
    peer.reset()
    await ready([sock.sock])
    user = User(sock.sock, TARGET, b"", Traffic(Meter(), Meter()), lambda outcome: ended.append(outcome.ending))
    carrier, _, _ = await stage.idle(kind)
    user.take_early()
    assert carrier.attach(user)
    assert ended == [Ending.RESET_BY_USER]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_has_sent_bytes_takes_no_user(stage: Stage, kind: Kind) -> None:
    carrier, near, _ = await stage.idle(kind, b"x")
    user = await stage.user()
    assert not carrier.attach(user)
    assert user.sock.fileno() >= 0
    assert near.sock.fileno() < 0
    await until(lambda: stage.gone == [carrier])
    user.sock.close()


async def test_an_aborted_connection_is_not_pinged(stage: Stage) -> None:
    stage.relay.patience = Patience(quiet=0.01)
    carrier, _, _ = await stage.idle(WsIdle)
    other, _, far = await stage.idle(WsIdle)
    carrier.abort()
    for _ in range(3):
        assert await receive_frame(far) == (BINARY, bytes([Signal.PING]))
    assert stage.gone == [carrier]
    other.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_in_an_unknown_state_is_reset(stage: Stage, kind: Kind) -> None:
    carrier, _, far = await stage.idle(kind)
    carrier.abort()
    assert not await far.closed()


async def test_a_ping_that_was_sent_in_part_ends_with_its_connection(stage: Stage) -> None:
    carrier, near, far = await stage.idle(WsIdle)
    near.fill()
    carrier.ping()
    stage.relay.poller.ignore_readable(near.sock)
    far.reset()
    await until(lambda: stage.gone)
    assert stage.gone == [carrier]
    assert near.sock.fileno() < 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_user_changes_the_probes_of_a_connection(stage: Stage, kind: Kind) -> None:
    carrier, near, far = await stage.idle(kind)
    near.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, USED_INTERVAL + 1)
    assert carrier.attach(await stage.user())
    assert near.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == USED_INTERVAL
    far.close()


async def test_a_ping_without_memory_for_its_rest_ends_the_connection(net: Net) -> None:
    poller = ExhaustedPoller(lambda owner: owner is None)
    relay = Relay(poller)
    stage = Stage(net, relay)
    carrier, near, _ = await stage.idle(WsIdle)
    near.fill()
    carrier.ping()
    assert stage.gone == [carrier]
    assert near.sock.fileno() < 0
    relay.close()
    poller.close()


async def test_pings_that_a_client_does_not_read_are_few_and_whole(stage: Stage) -> None:
    carrier, near, far = await stage.idle(WsIdle)
    before = near.fill()
    for _ in range(3):
        carrier.ping()
    assert carrier.attach(await stage.user())
    assert await far.receive(before) == bytes(before)
    assert await receive_frame(far) == (BINARY, bytes([Signal.PING]))
    assert await receive_frame(far) == (TEXT, TARGET.encode())


async def test_a_ping_leaves_when_the_client_reads_again(stage: Stage) -> None:
    carrier, near, far = await stage.idle(WsIdle)
    before = near.fill()
    carrier.ping()
    assert await far.receive(before) == bytes(before)
    assert await receive_frame(far) == (BINARY, bytes([Signal.PING]))
    await far.send(frame(PING, b"?", masked=True))
    assert await receive_frame(far) == (PONG, b"?")
    carrier.close()


async def test_of_many_pings_the_last_one_is_answered(stage: Stage) -> None:
    carrier, _, far = await stage.idle(WsIdle)
    await far.send(b"".join(frame(PING, bytes([number]), masked=True) for number in range(250)))
    answers = [(PONG, b"")]
    while answers[-1] != (PONG, bytes([249])):
        answers.append(await receive_frame(far))
    assert len(answers) < 25
    carrier.close()


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(PING, b"", masked=True) * 300, id="pings"),
        pytest.param(frame(PONG, b"", masked=True) * 300, id="pongs"),
        pytest.param(bytes([TEXT, 0x80, 0, 0, 0, 0]), id="the beginning of a message"),
    ],
)
async def test_a_flood_ends_an_idle_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch, flood: bytes) -> None:
    monkeypatch.setattr(WsIdle, "read_size", 1 << 14)  # as with TLS
    _, _, far = await stage.idle(WsIdle)
    await far.send(flood)
    await far.closed()


async def test_a_flood_of_pings_after_a_target_gets_few_answers(stage: Stage) -> None:
    near, far = await stage.net.pair()
    codec = WebSocketCodec(FrameParser(MessageReader(0, print, print), expect_masked=False), EXTENDED, masked=True)
    arrival = MessageArrival(
        stage.relay, codec, partial(MessageChannel, stage.relay, near.sock, codec), TARGET, datagrams=False
    )
    codec.feed(memoryview(frame(PING, b"") * (1 << 15)))
    arrival.refuse(reset=False)
    assert len(await far.receive_all()) < 1 << 15


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_can_not_be_watched_is_closed(net: Net, kind: Kind) -> None:
    """The client would be given users on it, who would wait for ever."""
    poller = ExhaustedPoller()
    relay = Relay(poller)
    stage = Stage(net, relay)
    carrier, near, _ = await stage.idle(kind)
    assert near.sock.fileno() < 0
    await until(lambda: stage.gone == [carrier])
    relay.close()
    poller.close()
