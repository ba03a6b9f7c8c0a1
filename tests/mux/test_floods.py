"""A peer with extensions that floods its session with small frames."""

import asyncio

import pytest
from tests.support.mux import IdleOwner
from tests.support.net import until
from tests.support.peers import EXTENDED
from tests.support.sealed import SealedTunnel, sealed_tunnel
from tests.support.torn import Torn, sessions
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.records import ClearMessages
from backhaul.mux.sink import NOBODY, TunnelStream
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.transports.carriers import mux_client
from backhaul.transports.carriers.mux_client import MAX_UNADDRESSED
from backhaul.wire import websocket
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import ACK, ASK, SYN, pack_frame

ORPHANS = "closed a session: peer does not end its streams; the program at its other end is faulty or hostile"
FLOOD = "closed a session: peer floods the session with frames that have no effect; the program at its other end"
MANY = 65_536
FLOODED = 70_000  # frames that are too many
REFUSED = 40  # users
STREAM = 512  # bytes that the budget counts for each
HEAD = (1 << 17).to_bytes(3)  # of a record that is nearly as large as any
PART = 100_000  # bytes of it
A_FEW = 4096  # frames, which no machine parses in half a millisecond


class Counting(IdleOwner):
    """Counts the streams that a peer opens, in each turn of the event loop."""

    def __init__(self) -> None:
        self.opened = 0

    def stream_opened(self, _: Link, stream: TunnelStream) -> None:
        stream.sink = NOBODY
        self.opened += 1


@pytest.mark.both_loops
async def test_small_frames_are_read_a_few_at_a_time(net: Net) -> None:
    poller = make_poller()
    relay = Relay(poller)
    near, far = await net.pair()
    owner, steps, before = Counting(), [0], 0
    link = Link(relay, near.sock, Role.SERVER, Settings(), owner, peer=EXTENDED)
    link.start()
    sending = asyncio.create_task(far.send(b"".join(pack_frame(1, SYN, stream) for stream in range(MANY))))
    while owner.opened < MANY:
        await asyncio.sleep(0)
        steps.append(owner.opened - before)
        before = owner.opened
    await sending
    assert max(steps) <= A_FEW
    link.end("the test is over")
    relay.close()
    poller.close()


def test_of_many_close_frames_the_first_one_is_answered() -> None:
    records = ClearMessages(lambda _data: None, masked=True)
    records.feed(memoryview(websocket.encode(websocket.CLOSE, b"\x03\xe8", masked=False) * A_FEW))
    assert records.closed
    assert records.answers == websocket.encode(websocket.CLOSE, b"\x03\xe8", masked=True)


async def test_a_peer_that_does_not_end_its_streams(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    poller = make_poller()
    relay = Relay(poller)
    near, far = await net.pair()
    settings = Settings(version=2, most_orphans=1, keepalive_interval=0.02, keepalive_timeout=60.0)
    link = Link(relay, near.sock, Role.CLIENT, settings, IdleOwner(), peer=EXTENDED)
    link.start()
    for _ in range(2):
        SmuxChannel(link, link.session.open()).drop(reset=False)
    await far.closed()
    assert link.closed
    assert ORPHANS in caplog.text
    relay.close()
    poller.close()


async def test_streams_without_targets_end_the_session(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    async with sealed_tunnel(net) as tunnel:
        link = tunnel.links[0]
        for _ in range(MAX_UNADDRESSED + FLOODED):
            link.session.open().sink = NOBODY
        link.flush()
        await tunnel.over()
    assert ORPHANS in caplog.text


def open_streams(link: Link, count: int) -> None:
    """Open streams with a target, which this end never ends."""
    for _ in range(count):
        stream = link.session.open()
        stream.sink = NOBODY
        link.targets.announce(stream, b"target:80")
    link.flush()


async def refuse(tunnel: SealedTunnel, count: int) -> None:
    """Refuse the next users."""
    async with asyncio.timeout(10):
        for _ in range(count):
            (await tunnel.events.arrivals.get()).refuse(reset=True)


async def test_refused_streams_that_the_server_does_not_end_count_as_memory(net: Net) -> None:
    async with sealed_tunnel(net) as tunnel:
        open_streams(tunnel.links[0], 2 * REFUSED)
        await refuse(tunnel, REFUSED)
        budget = tunnel.relays[1].budget
        assert budget.held >= REFUSED * STREAM
        budget.limit = budget.held
        await refuse(tunnel, 1)
        await tunnel.over()
        assert not budget.held


async def test_streams_that_the_server_ends_do_not_count(net: Net) -> None:
    async with sealed_tunnel(net) as tunnel:
        users = [await tunnel.user() for _ in range(REFUSED)]
        await refuse(tunnel, REFUSED)
        await until(lambda: len(tunnel.ends) == REFUSED)
        await until(lambda: not tunnel.links[1].session.streams)
        assert not tunnel.relays[1].budget.held
        for user in users:
            user.close()


async def test_a_server_opens_streams_faster_than_their_targets_are_dialled(
    net: Net, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux_client, "MAX_ARRIVING", REFUSED)
    async with sealed_tunnel(net) as tunnel:
        open_streams(tunnel.links[0], A_FEW)
        await until(lambda: tunnel.links[1].session.orphans > 0)
        assert f"user refused: {REFUSED} others wait for their targets" in caplog.text
        await refuse(tunnel, REFUSED)


async def test_a_part_of_a_record_counts_as_memory(net: Net) -> None:
    async with sealed_tunnel(net, messages=False) as tunnel:
        budget = tunnel.relays[1].budget
        await tunnel.down.inject(HEAD + bytes(PART))
        await until(lambda: budget.held == len(HEAD) + PART)
        budget.limit = budget.held
        await tunnel.down.inject(b"x")
        await tunnel.over()
        assert not budget.held


async def test_a_part_of_a_message_counts_as_memory(net: Net) -> None:
    async with sealed_tunnel(net, messages=True) as tunnel:
        budget = tunnel.relays[1].budget
        await tunnel.down.inject(websocket.encode(websocket.BINARY, bytes(PART + 1), masked=False)[:-1])
        await until(lambda: budget.held == PART)
        await tunnel.down.inject(b"x")  # no key opens the record
        await tunnel.over()
        assert not budget.held


async def test_control_frames_that_a_peer_does_not_read_count_as_memory(net: Net) -> None:
    async with sealed_tunnel(net, payload=False) as tunnel:
        tunnel.up.open.clear()
        client = tunnel.links[1]
        while not client.sender.blocked:
            client.session.nop()
            client.flush()
        before = tunnel.relays[1].budget.held
        client.session.control += bytes(PART)
        client.flush()
        assert tunnel.relays[1].budget.held == before + PART


@pytest.mark.parametrize("payload", [True, False], ids=["sealed", "clear"])
async def test_frames_without_an_effect_end_the_session(
    net: Net,
    caplog: pytest.LogCaptureFixture,
    payload: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    async with sealed_tunnel(net, payload=payload) as tunnel:
        link = tunnel.links[0]
        for _ in range(FLOODED):
            link.session.nop()
        link.flush()
        await tunnel.over()
    assert FLOOD in caplog.text


@pytest.mark.parametrize("command", [ACK, ASK])
async def test_acknowledgements_without_an_effect_end_the_session(
    net: Net, caplog: pytest.LogCaptureFixture, command: int
) -> None:
    net.transport = "tcpmux"
    torn = await Torn.start(net, pool=1)
    await torn.user()
    (link,) = sessions(torn.client)
    await until(lambda: not link.unacknowledged and not sessions(torn.server)[0].unacknowledged)
    number = link.received & 0xFFFF_FFFF if command == ACK else 0
    link.sender.transmit_unnumbered(pack_frame(2, command, number) * FLOODED)
    await until(lambda: FLOOD in caplog.text)
    await until(lambda: link.closed)


async def test_sessions_that_end_alike_share_a_line_whatever_their_peer_sends(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a hostile peer could use up the lines of all others."""
    net.transport = "tcpmux"
    torn = await Torn.start(net, pool=3)
    links = sessions(torn.client)
    for number, link in enumerate(sessions(torn.server)):
        link.sender.transmit_unnumbered(pack_frame(2, ACK, A_FEW + number))
    await until(lambda: all(link.closed for link in links))
    assert caplog.text.count("closed a session: the other end acknowledges") == 1


async def test_sessions_with_too_many_streams_do_not_fill_the_log(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    poller = make_poller()
    relay = Relay(poller)
    for _ in range(3):
        near, far = await net.pair()
        link = Link(relay, near.sock, Role.SERVER, Settings(max_streams=1), Counting(), peer=EXTENDED)
        link.start()
        await far.send(pack_frame(1, SYN, 1) + pack_frame(1, SYN, 3))
        streams = link.session.streams
        await until(streams.__len__)
    assert caplog.text.count("session with") == 1
    relay.close()
    poller.close()
