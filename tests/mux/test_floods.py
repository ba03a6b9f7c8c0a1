"""A peer with extensions that floods its session with small frames."""

import asyncio

import pytest
from tests.support.mux import IdleOwner
from tests.support.net import until
from tests.support.peers import EXTENDED
from tests.support.sealed import sealed_tunnel
from tests.support.torn import Torn, sessions
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.sink import NOBODY, TunnelStream
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.transports.carriers.mux_client import MAX_UNADDRESSED
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import ACK, ASK, SYN, pack_frame

FLOOD = "closed a session: peer floods the session with frames that have no effect; the program at its other end"
MANY = 65_536
FLOODED = 70_000  # frames that are too many
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
    assert len([step for step in steps if step > A_FEW]) <= 1  # the first one shows what they cost
    link.end("the test is over")
    relay.close()
    poller.close()


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
    assert "closed a session: peer does not end its streams; the program at its other end is faulty" in caplog.text
    relay.close()
    poller.close()


async def test_streams_without_targets_end_the_session(net: Net, caplog: pytest.LogCaptureFixture) -> None:
    async with sealed_tunnel(net) as tunnel:
        link = tunnel.links[0]
        for _ in range(MAX_UNADDRESSED + FLOODED):
            link.session.open().sink = NOBODY
        link.flush()
        await tunnel.over()
    assert FLOOD in caplog.text


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
