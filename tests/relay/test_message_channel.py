"""The end of a WebSocket connection as a channel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.net import PATIENCE, Peer, fill, until
from tests.support.peers import EXTENDED
from tests.support.sealed import seals
from tests.support.tunnel import Net
from tests.support.web import BINARY, CLOSE, PING, PONG, TEXT, frame, receive_frame

from backhaul.net.pollers import make_poller
from backhaul.net.predicates import has_input
from backhaul.relay.codec import Codec
from backhaul.relay.engine import Relay
from backhaul.relay.framed import FramedRelay
from backhaul.relay.message_channel import MessageChannel
from backhaul.relay.outcome import ORDERLY, Ending, Outcome
from backhaul.relay.patience import Patience
from backhaul.relay.sealed_codecs import RecordCodec, SealedMessageCodec
from backhaul.relay.traffic import Meter, Traffic
from backhaul.relay.websocket_codec import WebSocketCodec
from backhaul.security import kinds
from backhaul.security.records import Seals
from backhaul.security.session import Side
from backhaul.wire import websocket
from backhaul.wire.peer import V072
from backhaul.wire.websocket import FrameParser, MessageReader

DATA = bytes(range(256)) * 32
MANY = 100_000  # messages
SILENCE = 0.1  # seconds after which a channel that lingers is reset
A_FEW = 4096  # of them, which no machine parses in half a millisecond

pytestmark = pytest.mark.both_loops


async def test_unread_bytes_after_a_close_frame_do_not_make_the_end_a_reset(net: Net) -> None:
    poller = make_poller()
    relay = Relay(poller)
    (peer, conn), (_, user) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, V072, masked=False))
    joined = FramedRelay(relay, channel, user.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.start(joined)
    user.fill()
    await peer.send(frame(BINARY, b"what the user does not take", masked=True) + frame(CLOSE, b"\x03\xe8", masked=True))
    assert await receive_frame(peer) == (CLOSE, b"\x03\xe8")
    await peer.send(frame(PING, b"late", masked=True))
    await until(lambda: has_input(conn.sock))
    joined.close()
    assert await peer.closed(), "reset"
    poller.close()


@pytest.mark.parametrize("ended", [True, False])
async def test_only_a_direction_ended_by_its_message_ends_in_order(net: Net, *, ended: bool) -> None:
    """With extensions a message ends each direction; without it something on the way has cut the connection."""
    poller = make_poller()
    relay = Relay(poller)
    (peer, conn), (user, near) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, EXTENDED, masked=False))
    joined = FramedRelay(relay, channel, near.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.start(joined)
    joined.start()
    await peer.send(frame(BINARY, b"the first half", masked=True))
    assert await user.receive(14) == b"the first half"
    if ended:
        await peer.send(frame(TEXT, b"", masked=True))
    peer.close()
    assert await user.closed() is ended
    user.close()
    await until(lambda: joined.closed)
    poller.close()


async def test_a_user_ends_once(net: Net) -> None:
    """A session that fails in the middle of a read aborts its consumers, which may have ended within it."""
    poller = make_poller()
    relay, outcomes = Relay(poller), list[Outcome]()
    (peer, conn), (user, near) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, EXTENDED, masked=False))
    joined = FramedRelay(relay, channel, near.sock, Traffic(Meter(), Meter()), outcomes.append, towards_user=True)
    channel.start(joined)
    joined.start()
    joined.close()
    joined.abort()
    assert [outcome.ending in ORDERLY for outcome in outcomes] == [True]
    peer.close()
    user.close()
    poller.close()


class Counting:
    """A consumer that counts messages."""

    count = 0

    def on_data(self, view: memoryview) -> int:
        self.count += 1
        return len(view)

    def on_fin(self) -> None: ...
    def on_window(self) -> None: ...
    def on_lost(self, reason: object) -> None: ...
    def on_reset(self) -> None: ...
    def deliver(self) -> None: ...
    def unpark(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def over_budget(self) -> None: ...


class Looks:
    """An entry among the half-closed connections of a relay, which reports each look at all of them."""

    def __init__(self, relay: Relay) -> None:
        self._count = 0
        self.undelivered = 0
        self._looked = asyncio.Event()
        relay.watch(self)  # the last entry, which is looked at last

    @property
    def moved(self) -> int:
        """Rise at each look."""
        self._count += 1
        self._looked.set()
        return self._count

    def silent_for(self, seconds: float) -> None:
        """Do nothing."""

    def close(self, *, reset: bool = False) -> None:
        """Do nothing."""

    async def next(self) -> None:
        """Return after the next look."""
        self._looked.clear()
        async with asyncio.timeout(PATIENCE):
            await self._looked.wait()


class Clocked:
    """A loop whose time is that of the test."""

    def __init__(self, loop: Any) -> None:  # noqa: ANN401 - stands in for a loop, too
        self._loop = loop
        self.now: float = loop.time()

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of a loop
        return getattr(self._loop, name)


class TestLingering:
    """The target has closed, and the end of its answer still waits for a v0.7.2 server to read it."""

    @pytest.fixture
    async def relay(self) -> AsyncIterator[Relay]:
        poller = make_poller()
        relay = Relay(poller, patience=Patience(sweep=0.01, half_close=SILENCE))
        yield relay
        relay.close()
        poller.close()

    async def answered(self, net: Net, relay: Relay) -> tuple[Peer, int]:
        """Return the peer of a channel whose target has closed, and how many bytes the target has sent."""
        listener = net.listen(rcvbuf=1 << 14)
        conn, peer = await net.dial(listener.port), await listener.accept()
        target, sock = await net.pair()
        parser = FrameParser(MessageReader(0, print, print), expect_masked=False)
        channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, V072, masked=True))
        joined = FramedRelay(relay, channel, sock.sock, Traffic(Meter(), Meter()), None, towards_user=False)
        channel.start(joined)
        joined.start()
        await fill(target)
        joined.close()
        assert list(relay.lingering) == [channel]
        return peer, joined.taken

    async def test_a_slow_reader_gets_the_whole_answer(self, net: Net, relay: Relay) -> None:
        peer, sent = await self.answered(net, relay)
        (channel,) = relay.lingering
        clock: Any = Clocked(relay.loop)
        relay.loop = clock
        looks, received = Looks(relay), 0
        for _ in range(4):
            before = channel.moved, channel.undelivered
            while (channel.moved, channel.undelivered) == before:
                received += len(await peer.receive(1 << 13))
            await looks.next()
            clock.now += 0.9 * SILENCE
        assert relay.lingering
        assert received + len(await peer.receive_all()) > sent

    async def test_a_reader_that_takes_nothing_is_reset(self, net: Net, relay: Relay) -> None:
        peer, _ = await self.answered(net, relay)
        await until(lambda: not relay.lingering)
        assert not await peer.closed()


def sealed_messages(near: Seals, far: Seals) -> tuple[Codec, bytes]:
    """Return the codec of a server, and a message of its client."""
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    sealed = far.sealer.seal(bytes([kinds.DATA]) + DATA)
    message = websocket.encode(websocket.BINARY, sealed, masked=True)
    return SealedMessageCodec(near.sealer, near.opener, parser, masked=False), message


def sealed_records(near: Seals, far: Seals) -> tuple[Codec, bytes]:
    """Return the same in a byte stream."""
    return RecordCodec(near.sealer, near.opener), far.sealer.frame(kinds.DATA, DATA)


@pytest.mark.parametrize("make", [sealed_messages, sealed_records])
@pytest.mark.parametrize("short", [False, True], ids=["complete", "short of memory"])
async def test_a_part_of_a_record_counts_as_memory(
    net: Net, make: Callable[[Seals, Seals], tuple[Codec, bytes]], *, short: bool
) -> None:
    poller = make_poller()
    relay = Relay(poller)
    (peer, conn), (user, sock) = await net.pair(), await net.pair()
    codec, message = make(*(seals(side, payload=True) for side in (Side.SERVER, Side.CLIENT)))
    channel = MessageChannel(relay, conn.sock, codec)
    joined = FramedRelay(relay, channel, sock.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.start(joined)
    joined.start()
    await peer.send(message[:-2])
    await until(lambda: relay.budget.held > len(DATA))
    if short:
        relay.budget.limit = relay.budget.held
    await peer.send(message[-2:-1])
    if short:
        assert not await user.closed()
    else:
        await peer.send(message[-1:])
        assert await user.receive(len(DATA)) == DATA
        joined.close()
    assert not relay.budget.held
    poller.close()


async def test_a_blocked_channel_is_not_pinged_and_a_silent_one_is_whole(net: Net) -> None:
    poller = make_poller()
    relay = Relay(poller)
    (peer, conn), (user, sock) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    filler = conn.fill()
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, EXTENDED, masked=False), frame(PONG, b"first"))
    joined = FramedRelay(relay, channel, sock.sock, Traffic(Meter(), Meter()), None, towards_user=True)
    channel.start(joined)
    joined.start()
    for _ in range(3):
        channel.ping_if_silent()
    assert await peer.receive(filler) == bytes(filler)
    assert await receive_frame(peer) == (PONG, b"first")
    for _ in range(2):
        channel.ping_if_silent()
    await user.send(b"hello")
    assert await receive_frame(peer) == (PING, b"")
    assert await receive_frame(peer) == (BINARY, b"hello")
    joined.close()
    poller.close()


async def test_a_user_whose_bytes_the_tunnel_does_not_take_ends_for_lack_of_memory(net: Net) -> None:
    poller = make_poller()
    relay, outcomes = Relay(poller, backlog_limit=1), list[Outcome]()
    (_, conn), (user, near) = await net.pair(), await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(relay, conn.sock, WebSocketCodec(parser, EXTENDED, masked=False))
    joined = FramedRelay(relay, channel, near.sock, Traffic(Meter(), Meter()), outcomes.append, towards_user=True)
    conn.fill()
    channel.start(joined)
    joined.start()
    await user.send(DATA)
    await until(lambda: outcomes)
    assert outcomes[0].ending is Ending.SHORT_OF_MEMORY
    poller.close()


async def test_small_messages_are_read_a_few_at_a_time(net: Net) -> None:
    poller, consumer, steps = make_poller(), Counting(), [0]
    peer, conn = await net.pair()
    parser = FrameParser(MessageReader(0, print, print), expect_masked=True)
    channel = MessageChannel(Relay(poller), conn.sock, WebSocketCodec(parser, EXTENDED, masked=False))
    channel.start(consumer)
    sending = asyncio.create_task(peer.send(frame(BINARY, b"x", masked=True) * MANY))
    while consumer.count < MANY:
        before = consumer.count
        await asyncio.sleep(0)
        steps.append(consumer.count - before)
    await sending
    assert max(steps) <= A_FEW
    channel.close(reset=True)
    poller.close()
