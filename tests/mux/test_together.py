"""Small frames of many streams, which share a write when their sockets were reported together."""

import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.support.mux import IdleOwner, join_user
from tests.support.net import Peer, until
from tests.support.peers import EXTENDED
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.net.pollers import EpollPoller
from backhaul.relay.engine import Relay
from backhaul.wire.smux import Role, Settings
from backhaul.wire.smux.frames import FIN, PSH, SYN, pack_frame
from backhaul.wire.smux.session import CONTROL_LIMIT

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

pytestmark = pytest.mark.both_loops


class Recording(socket.socket):
    """A connection that knows its writes, whose borders TCP does not keep."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.setblocking(False)
        self.writes: list[bytes] = []

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """See socket(2)."""
        count = super().send(data, flags)
        self.writes.append(bytes(data)[:count])
        return count


class Finishing(IdleOwner):
    """An owner that needs no session without streams."""

    def stream_closed(self, link: Link) -> None:
        """See LinkOwner."""
        if not len(link):
            link.finish("nobody is left")


class Deep(Recording):
    """A connection whose kernel takes everything at once, or nothing while it is ``full``."""

    full = False

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """See socket(2)."""
        del flags
        if self.full:
            raise BlockingIOError
        self.writes.append(bytes(data))
        return len(self.writes[-1])


@dataclass
class Scene:
    """A link on a connection that records writes, with users who have streams on it."""

    net: Net
    poller: EpollPoller
    relay: Relay
    link: Link
    conn: Recording
    far: Peer

    async def user(self) -> tuple[Peer, int]:
        """Return a user's socket, and the number of its stream, which the other end knows."""
        user, near = await self.net.pair()
        number = join_user(self.relay, self.link, near)
        self.link.flush()
        assert await self.write() == pack_frame(1, SYN, number)
        return user, number

    async def write(self) -> bytes:
        """Return the bytes of the next write."""
        await until(lambda: bool(self.conn.writes))
        return self.conn.writes.pop(0)


@pytest.fixture
async def scene(net: Net, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Return the scene on a connection of the class that a test asks for."""
    poller = EpollPoller()
    relay = Relay(poller)
    near, far = await net.pair()
    conn = getattr(request, "param", Recording)(near.sock)
    link = Link(relay, conn, Role.CLIENT, Settings(), IdleOwner(), peer=EXTENDED)
    link.start()
    yield Scene(net, poller, relay, link, conn, far)
    relay.close()
    poller.close()


async def test_small_messages_share_a_write(scene: Scene) -> None:
    users = [await scene.user() for _ in range(8)]
    for user, _ in users:
        user.sock.send(b"move")
    frames = [pack_frame(1, PSH, number, b"move") for _, number in users]
    assert sorted(split(await scene.write(), len(frames[0]))) == sorted(frames)


async def test_a_large_message_takes_the_small_ones_before_it_along(scene: Scene) -> None:
    users = [await scene.user() for _ in range(8)]
    payloads = [*7 * [b"move"], bytes(9000)]
    for (user, _), payload in zip(users, payloads, strict=True):
        user.sock.send(payload)
    received = await scene.write()
    if len(received) < 9000:  # the kernel has reported the large one first
        received += await scene.write()
    frames = [pack_frame(1, PSH, number, payload) for (_, number), payload in zip(users, payloads, strict=True)]
    assert len(received) == sum(map(len, frames))
    assert all(frame in received for frame in frames)
    assert not scene.conn.writes


async def test_many_small_messages_share_several_writes(scene: Scene) -> None:
    users = [await scene.user() for _ in range(8)]
    for user, _ in users:
        user.sock.send(bytes(1500))
    writes = [await scene.write()]
    while sum(map(len, writes)) < 8 * 1508:
        writes.append(await scene.write())
    assert len(writes) < len(users)
    frames = [pack_frame(1, PSH, number, bytes(1500)) for _, number in users]
    assert sorted(split(b"".join(writes), 1508)) == sorted(frames)


async def test_a_user_among_few_does_not_wait(scene: Scene) -> None:
    users = [await scene.user() for _ in range(2)]
    others = [await scene.net.pair() for _ in range(8)]
    for near, far in others:
        scene.poller.on_readable(near.sock, reader(near.sock))
        far.sock.send(b"x")
    for user, _ in users:
        user.sock.send(b"move")
    frames = [pack_frame(1, PSH, number, b"move") for _, number in users]
    assert sorted([await scene.write(), await scene.write()]) == sorted(frames)
    for near, _ in others:
        scene.poller.forget(near.sock)


async def test_the_end_of_a_user_follows_the_last_bytes(scene: Scene) -> None:
    users = [await scene.user() for _ in range(8)]
    for user, _ in users:
        user.sock.send(b"last")
        user.sock.shutdown(socket.SHUT_WR)
    ends = [pack_frame(1, PSH, number, b"last") + pack_frame(1, FIN, number) for _, number in users]
    assert sorted(split(await scene.write(), len(ends[0]))) == sorted(ends)


async def test_frames_that_wait_when_their_session_finishes_leave_before_its_end(scene: Scene) -> None:
    scene.link.owner = Finishing()
    users = [await scene.user() for _ in range(8)]
    await scene.far.send(b"".join(pack_frame(1, FIN, number) for _, number in users))
    for user, _ in users:
        assert await user.receive_all() == b""
    for user, _ in users:
        user.sock.send(b"last")
        user.sock.shutdown(socket.SHUT_WR)
    received = await scene.far.receive_all()
    for _, number in users:
        assert 0 <= received.find(pack_frame(1, PSH, number, b"last")) < received.find(pack_frame(1, FIN, number))


@pytest.mark.parametrize("scene", [Deep], indirect=True)
async def test_a_session_on_which_many_frames_wait_is_read(scene: Scene) -> None:
    user, number = await scene.user()
    scene.poller.together.begin()
    while len(scene.link.session.control) <= CONTROL_LIMIT:
        scene.link.session.nop()
    scene.link.settle()
    await scene.write()
    await scene.far.send(pack_frame(1, PSH, number, b"answer"))
    assert await user.receive(6) == b"answer"


@pytest.mark.parametrize("scene", [Deep], indirect=True)
async def test_a_session_whose_many_frames_leave_in_the_end_is_read(scene: Scene) -> None:
    users = [await scene.user() for _ in range(8)]
    assert isinstance(scene.conn, Deep)
    scene.conn.full = True
    while len(scene.link.session.control) <= CONTROL_LIMIT:
        scene.link.session.nop()
        scene.link.flush()
    scene.link.settle()
    scene.conn.full = False
    for user, _ in users:
        user.sock.send(b"question")  # reported together with the room of the connection, and after it
    await scene.write()
    for user, number in users:
        await scene.far.send(pack_frame(1, PSH, number, b"answer"))
        assert await user.receive(6) == b"answer"


def reader(sock: socket.socket) -> Callable[[], None]:
    """Return a callback that reads one byte."""

    def read() -> None:
        sock.recv(1)

    return read


def split(data: bytes, size: int) -> list[bytes]:
    """Return the pieces of that size."""
    return [data[at : at + size] for at in range(0, len(data), size)]
