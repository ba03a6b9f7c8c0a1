"""Datagrams in a connection that is blocked or ends."""

import socket
import struct
from collections.abc import AsyncIterator

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import Peer, Sockets, until

from backhaul.net.udp import QUEUE_BYTES, Counters, QueueRoom
from backhaul.relay.datagrams_over_tcp import CONGESTED_QUEUE_BYTES, DatagramStream
from backhaul.wire.datagrams import Batch, DelayEstimator, Splitter, join, join_stamped

NUMBER = struct.Struct("!I")
ROUNDS, PER_ROUND, SIZE = 3000, 10, 1000


class Scene:
    """A stream, the other end of its connection, and the events of both."""

    def __init__(
        self, poller: ExhaustedPoller, stream: DatagramStream, peer: Peer, counters: Counters, room: QueueRoom
    ) -> None:
        self.poller = poller
        self.room = room
        self.stream = stream
        self.peer = peer
        self.counters = counters
        self.received: list[bytes] = []
        self.ended = 0
        self._splitter = Splitter(stamped=False)
        stream.start(self._take, self._end)

    def _take(self, batch: Batch) -> None:
        self.received += [bytes(datagram) for datagram in batch]

    def _end(self) -> None:
        self.ended += 1
        self.stream.close()

    def flood(self) -> None:
        """Send far more than connection and queue take; the test does not read."""
        for first in range(0, ROUNDS * PER_ROUND, PER_ROUND):
            self.stream.send([NUMBER.pack(first + number).ljust(SIZE) for number in range(PER_ROUND)])

    async def numbers(self) -> list[int]:
        """Read up to the newest datagram; return the numbers in their order."""
        found: list[int] = []
        while not found or found[-1] != ROUNDS * PER_ROUND - 1:
            batch = self._splitter.feed(memoryview(await self.peer.receive_some()))
            assert all(len(datagram) == SIZE for datagram in batch)
            found += [NUMBER.unpack_from(datagram)[0] for datagram in batch]
        return found


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    sockets, poller, counters = Sockets(), ExhaustedPoller(lambda _owner: False), Counters()
    near, far = await sockets.pair()
    room, splitter = QueueRoom(1 << 24), Splitter(stamped=True)
    stream = DatagramStream(
        poller, near.sock, join, splitter, counters, judge=DelayEstimator(0), room=room.of("client")
    )
    yield Scene(poller, stream, far, counters, room)
    stream.close()
    poller.close()
    sockets.close_peers()


async def test_a_reader_that_stops_costs_the_oldest_datagrams_and_bounded_memory(scene: Scene) -> None:
    scene.flood()
    assert scene.stream.queued <= QUEUE_BYTES
    numbers = await scene.numbers()
    assert numbers == sorted(set(numbers))
    assert scene.counters.dropped == ROUNDS * PER_ROUND - len(numbers) > 0
    newest = QUEUE_BYTES // (SIZE + 64)
    assert numbers[-newest:] == list(range(ROUNDS * PER_ROUND - newest, ROUNDS * PER_ROUND))
    assert not scene.ended


async def test_a_blocked_stream_continues(scene: Scene) -> None:
    scene.flood()
    await scene.numbers()
    for text in (b"after", b"and after that"):  # the first one may still wait
        scene.stream.send([text])
        assert (await scene.peer.receive_some()) == join([text])


async def test_a_stream_that_accepts_bytes_again_leaves_the_rest_in_the_queue(scene: Scene) -> None:
    scene.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # otherwise the kernel takes them all
    scene.flood()
    full = scene.stream.queued
    while scene.stream.queued == full:
        await scene.peer.receive_some()
    assert scene.stream.queued > full // 4


async def test_a_congested_flow_queues_less(scene: Scene) -> None:
    for timestamp in (5_000, 4_000):  # the second datagram took a second longer
        await scene.peer.send(join_stamped([b"x"], timestamp))
        await until(lambda: scene.received)
        scene.received.clear()
    scene.flood()
    assert scene.counters.congested == 1
    assert scene.stream.queued <= CONGESTED_QUEUE_BYTES
    await scene.peer.send(join_stamped([b"x"], 6_000))
    await until(lambda: scene.received)
    scene.flood()
    assert CONGESTED_QUEUE_BYTES < scene.stream.queued <= QUEUE_BYTES


async def test_a_part_of_a_datagram_takes_room_until_the_rest_arrives(scene: Scene) -> None:
    frame = join_stamped([bytes(SIZE)], 0)
    await scene.peer.send(frame[:500])
    await until(lambda: scene.room.held == 500)
    await scene.peer.send(frame[500:])
    await until(lambda: scene.received)
    assert (scene.room.held, scene.ended) == (0, 0)
    scene.room.limit = 0
    await scene.peer.send(frame[:500])
    await until(lambda: scene.ended)
    assert scene.room.held == 0


async def test_the_end_of_the_connection_is_reported_once(scene: Scene) -> None:
    await scene.peer.send(join_stamped([b"last"], 0))
    scene.peer.close()
    await until(lambda: scene.ended)
    assert scene.received == [b"last"]
    scene.stream.send([b"x"])
    assert scene.ended == 1


async def test_a_reset_is_an_end_even_while_the_stream_is_blocked(scene: Scene) -> None:
    scene.flood()
    scene.peer.reset()
    await until(lambda: scene.ended)
    assert scene.counters.dropped > 0
    assert scene.ended == 1


async def test_a_write_may_find_the_end_first(scene: Scene) -> None:
    scene.peer.reset()

    def write() -> int:
        if not scene.ended:
            scene.stream.send([b"x"])
        return scene.ended

    while not write():
        pass
    assert scene.ended == 1


async def test_a_connection_that_can_not_be_watched_for_room_ends(scene: Scene) -> None:
    scene.poller.short = lambda _owner: True
    scene.flood()
    assert scene.ended == 1
    await scene.peer.closed()


async def test_a_rest_for_which_there_is_no_room_ends_the_flow(scene: Scene) -> None:
    scene.room.limit = 0
    scene.flood()
    assert scene.ended == 1
    assert not scene.room.held
