"""Many streams on one connection that does not keep up, and the bytes that each waits for."""

import asyncio
import fcntl
import math
import socket
import struct
import termios
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.mux import IdleOwner, join_user
from tests.support.net import Peer, until
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.mux.stream_channel import SmuxChannel
from backhaul.net.pollers import make_poller
from backhaul.net.predicates import retransmissions
from backhaul.net.udp import Counters, QueueRoom
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.relay.engine import Relay
from backhaul.relay.flows import DEFAULT_ROOM
from backhaul.relay.patience import Patience
from backhaul.wire.smux import HEADER_SIZE, Role, Settings

pytestmark = pytest.mark.both_loops
SIOCOUTQ, SIOCOUTQNSD = termios.TIOCOUTQ, 0x894B  # bytes not acknowledged, bytes not sent (linux/sockios.h)
ECHO = b"e" * 64
FRAME = 32768  # the default mux_framesize
HEADER = struct.Struct("<BBHI")


@dataclass
class Scene:
    """A link whose connection only the test reads, with users who have streams on it."""

    net: Net
    relay: Relay
    link: Link
    far: Peer

    async def user(self) -> tuple[Peer, int]:
        """Return a user's socket and the number of its stream."""
        user, near = await self.net.pair()
        return user, join_user(self.relay, self.link, near)

    def flow(self) -> DatagramChannel:
        """Return a flow of datagrams that has a stream."""
        channel = SmuxChannel(self.link, self.link.session.open())
        flow = DatagramChannel(channel, Counters(), QueueRoom(DEFAULT_ROOM).of(self.link))
        channel.attach(flow)
        flow.start(lambda _batch: None, lambda: None)
        return flow

    @property
    def parked(self) -> int:
        """The number of streams that wait for the connection."""
        return len(self.link.sender.turns)

    def stuck(self) -> bool:
        """True if the far kernel accepts no more bytes: it has acknowledged all, or drops those in flight for now."""
        return self.link.sender.blocked and (not self.in_flight() or retransmissions(self.link.conn) > 0)

    def in_flight(self) -> int:
        """Count the bytes that the near kernel has sent and may have to send again."""
        return _ioctl(self.link.conn, SIOCOUTQ) - _ioctl(self.link.conn, SIOCOUTQNSD)

    def sent(self) -> int:
        """Count the bytes that have left the near end and wait at the far one, while the connection is stuck."""
        return self.in_flight() + _ioctl(self.far.sock, termios.FIONREAD)


@pytest.fixture(params=[0.0])
async def scene(request: pytest.FixtureRequest, net: Net) -> AsyncIterator[Scene]:
    poller = make_poller()
    relay = Relay(poller, patience=Patience(soon=request.param))
    near, far = await net.pair()
    far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # otherwise it grows until the line looks fast
    link = Link(relay, near.sock, Role.CLIENT, Settings(max_frame=FRAME), IdleOwner(), peer=EXTENDED)
    link.start()
    yield Scene(net, relay, link, far)
    relay.close()
    link.end("the test is over")
    poller.close()


async def _bulk_stream(scene: Scene) -> None:
    bulk, _ = await scene.user()
    await _pump(bulk)


async def _bulk_datagrams(scene: Scene) -> None:
    await _flood(scene.flow())


@pytest.mark.parametrize("bulk", [_bulk_stream, _bulk_datagrams])
async def test_a_small_message_waits_for_at_most_one_frame_of_bulk(
    scene: Scene, bulk: Callable[[Scene], Coroutine[Any, Any, None]]
) -> None:
    quiet, number = await scene.user()
    pump = asyncio.ensure_future(bulk(scene))
    reader = Frames(scene.far)
    await slow_down(scene, reader)
    sent = scene.sent() + len(reader.rest)
    await quiet.send(ECHO)
    await until(lambda: scene.parked == 2)
    ahead = await reader.until(number) - sent
    pump.cancel()
    assert ahead <= FRAME + HEADER_SIZE


async def test_small_messages_of_many_streams_wait_for_one_frame_together(scene: Scene) -> None:
    bulk, bulk_number = await scene.user()
    users = [await scene.user() for _ in range(20)]
    pump = asyncio.ensure_future(_pump(bulk))
    reader = Frames(scene.far)
    await slow_down(scene, reader)
    for user, _ in users:
        await user.send(ECHO)
    await until(lambda: scene.parked == 1 + len(users))
    seen = [await reader.next() for _ in range(2000)]
    pump.cancel()
    streams = [number for number, _ in seen]
    first, last = min(streams.index(number) for _, number in users), max(streams.index(number) for _, number in users)
    between = sum(length for number, length in seen[first:last] if number == bulk_number)
    assert between <= FRAME


@pytest.mark.parametrize("scene", [math.inf], indirect=True)
async def test_a_connection_that_takes_its_bytes_soon_gets_large_pieces(scene: Scene) -> None:
    bulk, number = await scene.user()
    pump = asyncio.ensure_future(_pump(bulk))
    reader = Frames(scene.far)
    await slow_down(scene, reader)
    seen = [await reader.next() for _ in range(5)]
    pump.cancel()
    assert (number, FRAME) in seen


async def slow_down(scene: Scene, reader: "Frames") -> None:
    """Make the connection fall behind for a while."""
    for _ in range(30):
        await until(scene.stuck)
        await reader.skip(100_000)
    await until(scene.stuck)


class Frames:
    """Reads the frames that arrive at the far end."""

    def __init__(self, far: Peer) -> None:
        self._far = far
        self.rest = b""

    async def next(self) -> tuple[int, int]:
        """Return the stream and the payload length of the next frame."""
        head = await self._take(HEADER_SIZE)
        _, _, length, number = HEADER.unpack(head)
        await self._take(length)
        return number, length

    async def skip(self, count: int) -> None:
        """Read frames with ``count`` bytes of payload together."""
        while count > 0:
            count -= (await self.next())[1]

    async def until(self, stream: int) -> int:
        """Read up to the first payload of ``stream``; return how many bytes were before it."""
        before = 0
        while True:
            number, length = await self.next()
            if number == stream and length:
                return before
            before += HEADER_SIZE + length

    async def _take(self, count: int) -> bytes:
        while len(self.rest) < count:
            self.rest += await self._far.receive_some()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


async def _pump(peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await loop.sock_sendall(peer.sock, bytes(1 << 16))


async def _flood(flow: DatagramChannel) -> None:
    while True:
        flow.send([bytes(1000)] * 10)
        await asyncio.sleep(0)


def _ioctl(sock: socket.socket, request: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0])
