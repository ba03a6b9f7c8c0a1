"""The last frames of users, which wait for other frames to leave with."""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from tests.support.mux import IdleOwner
from tests.support.net import Peer, until
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.sink import NOBODY, TunnelStream
from backhaul.mux.stream_channel import UserChannel
from backhaul.net.pollers import make_poller
from backhaul.relay.engine import Relay
from backhaul.relay.patience import Patience
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import FIN, NOP, SYN, pack_frame

pytestmark = pytest.mark.both_loops


class Setup(NamedTuple):
    link: Link
    relay: Relay
    far: Peer

    async def finished_stream(self) -> TunnelStream:
        """Return a stream that the other end has finished."""
        stream = self.link.session.open()
        stream.sink = NOBODY
        self.link.flush()
        await self.expect(pack_frame(1, SYN, stream.id))
        await self.far.send(pack_frame(1, FIN, stream.id))
        await until(lambda: self.link.proved)
        return stream

    async def expect(self, frames: bytes) -> None:
        """Receive these frames, and nothing before them."""
        assert await self.far.receive(len(frames)) == frames


@pytest.fixture
async def setup(net: Net, request: pytest.FixtureRequest) -> AsyncIterator[Setup]:
    """Yield a session whose late frames wait for that many seconds."""
    poller = make_poller()
    relay = Relay(poller, patience=Patience(late=request.param))
    near, far = await net.pair()
    link = Link(relay, near.sock, Role.CLIENT, Settings(), IdleOwner(), peer=EXTENDED)
    link.start()
    yield Setup(link, relay, far)
    relay.close()
    poller.close()


FOR_EVER = 3600.0


@pytest.mark.parametrize("setup", [FOR_EVER], indirect=True)
async def test_the_end_of_a_user_leaves_with_other_frames(setup: Setup) -> None:
    stream = await setup.finished_stream()
    UserChannel(setup.link, stream).drop(reset=False)
    setup.link.session.nop()
    setup.link.settle()
    await setup.expect(pack_frame(1, NOP, 0) + pack_frame(1, FIN, stream.id))


@pytest.mark.parametrize("setup", [0.001], indirect=True)
async def test_the_end_of_a_user_leaves_soon_without_other_frames(setup: Setup) -> None:
    stream = await setup.finished_stream()
    UserChannel(setup.link, stream).drop(reset=False)
    await setup.expect(pack_frame(1, FIN, stream.id))


@pytest.mark.parametrize("setup", [FOR_EVER], indirect=True)
async def test_the_end_of_a_user_leaves_before_its_session_closes(setup: Setup) -> None:
    stream = await setup.finished_stream()
    UserChannel(setup.link, stream).drop(reset=False)
    setup.link.finish("nobody is left")
    assert setup.link.closed
    await setup.expect(pack_frame(1, FIN, stream.id))


@pytest.mark.parametrize("setup", [FOR_EVER], indirect=True)
async def test_the_end_of_a_user_leaves_before_the_program_stops(setup: Setup) -> None:
    stream = await setup.finished_stream()
    UserChannel(setup.link, stream).drop(reset=False)
    setup.relay.close()
    await setup.expect(pack_frame(1, FIN, stream.id))


@pytest.mark.parametrize("setup", [FOR_EVER], indirect=True)
async def test_a_user_who_ends_before_the_target_is_not_late(setup: Setup) -> None:
    stream = setup.link.session.open()
    UserChannel(setup.link, stream).drop(reset=False)
    await setup.expect(pack_frame(1, SYN, stream.id) + pack_frame(1, FIN, stream.id))
