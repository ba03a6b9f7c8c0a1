"""What pollers do for the sake of others: no report twice, none after the end, and an owner for each socket."""

import functools
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.inside import watched
from tests.support.net import Peer, until
from tests.support.tunnel import Net
from tests.support.turns import turns

from backhaul.net.closing import linger
from backhaul.net.poller import Poller
from backhaul.net.pollers import EpollPoller, LoopPoller

pytestmark = pytest.mark.both_loops
QUIET = {"EPOLLERR"}  # the kernel's own


class Owner:
    """Counts its ends."""

    def __init__(self) -> None:
        self.aborted = 0

    def abort(self) -> None:
        """See Owner."""
        self.aborted += 1


@pytest.fixture
async def epoll(pair: tuple[socket.socket, socket.socket]) -> AsyncIterator[EpollPoller]:
    del pair  # closed after the poller
    poller = EpollPoller()
    yield poller
    poller.close()


def fail() -> None:
    """Raise, as a faulty callback does."""
    raise ZeroDivisionError


def in_turn(*acts: Callable[[], object]) -> Callable[[], None]:
    """Return a callback that does all of these."""

    def callback() -> None:
        for act in acts:
            act()

    return callback


def descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_the_owner_of_a_new_socket_ends_with_its_callback(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    owner = Owner()
    poller.own(near, in_turn(lambda: near.recv(1), fail), owner)
    far.send(b"x")
    await until(lambda: owner.aborted)
    assert owner.aborted == 1
    poller.forget(near)


async def test_a_socket_that_was_not_read_is_heard_by_its_next_owner(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    heard: list[bytes] = []
    poller.own(near, fail, Owner())
    poller.ignore_readable(near)
    far.send(b"x")
    await turns()  # its report is ignored, and stops further ones
    poller.own(near, lambda: heard.append(near.recv(1)), Owner())
    await until(lambda: heard == [b"x"])
    poller.forget(near)


async def test_room_is_reported_only_while_it_is_wanted(
    epoll: EpollPoller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    epoll.on_readable(near, fail)
    epoll.on_writable(near, fail)
    epoll.ignore_writable(near)
    assert watched(near) == QUIET | {"EPOLLIN", "EPOLLRDHUP"}
    epoll.forget(near)
    assert not watched(near)


async def test_room_is_no_room_for_a_former_owner(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    heard: list[str] = []
    poller.on_writable(near, lambda: heard.append("former"))
    poller.ignore_writable(near)
    poller.on_readable(near, lambda: heard.append("reader"))
    far.close()  # which is a reason to write, too
    await until(lambda: "reader" in heard)
    assert "former" not in heard
    poller.forget(near)


async def test_bytes_that_are_not_read_are_reported_once(
    epoll: EpollPoller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    epoll.own(near, fail, Owner())
    epoll.ignore_readable(near)
    far.send(b"x")
    await until(lambda: not watched(near))
    epoll.forget(near)


async def test_a_broken_socket_that_is_not_read_is_not_reported_again_and_again(epoll: EpollPoller, net: Net) -> None:
    near, far = await net.pair()
    epoll.own(near.sock, fail, Owner())
    epoll.ignore_readable(near.sock)
    far.reset()
    await until(lambda: not watched(near.sock))
    epoll.forget(near.sock)


async def test_a_reset_after_the_end_is_reported_without_bytes(epoll: EpollPoller, net: Net) -> None:
    near, far = await net.pair()
    told: list[str] = []
    epoll.own(near.sock, fail, Owner())
    epoll.on_reset(near.sock, in_turn(lambda: told.append("reset"), lambda: epoll.forget(near.sock)))
    assert watched(near.sock) == QUIET
    far.shut_write()
    await turns()
    assert not told
    far.reset()
    await until(lambda: told)
    assert told == ["reset"]


async def test_two_ends_are_no_reset(epoll: EpollPoller, net: Net) -> None:
    near, far = await net.pair()
    owner = Owner()
    epoll.own(near.sock, fail, owner)
    epoll.on_reset(near.sock, fail)
    near.shut_write()
    far.shut_write()
    await until(lambda: not watched(near.sock))
    assert not owner.aborted
    epoll.forget(near.sock)


async def test_the_end_is_not_reported_after_it_was_read(poller: Poller, net: Net) -> None:
    near, far = await net.pair()
    heard: list[bytes] = []

    def readable() -> None:
        heard.append(near.sock.recv(1))
        poller.on_reset(near.sock, lambda: None)

    poller.on_readable(near.sock, readable)
    far.shut_write()
    await until(lambda: heard)
    await turns()
    assert heard == [b""]
    poller.forget(near.sock)


async def test_a_callback_that_lets_go_of_its_socket_ends_the_report(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    heard: list[str] = []
    poller.on_readable(near, in_turn(lambda: heard.append("readable"), lambda: poller.forget(near)))
    far.send(b"x")
    poller.on_writable(near, lambda: heard.append("writable"))
    await until(lambda: "readable" in heard)
    count = len(heard)
    await turns()
    assert heard.index("readable") == count - 1 == len(heard) - 1


async def test_deferred_work_of_a_closed_socket_is_dropped(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    done: list[bool] = []
    near.close()
    poller.run(near, lambda: done.append(True))
    assert not done


async def test_a_socket_may_cease_to_wait_for_room_when_it_is_read(
    poller: Poller, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    near, far = pair
    heard: list[bytes] = []
    poller.on_readable(near, in_turn(lambda: poller.ignore_writable(near), lambda: heard.append(near.recv(1))))
    far.send(b"x")
    poller.on_writable(near, lambda: None)
    await until(lambda: heard)
    assert not caplog.text
    poller.forget(near)


@pytest.mark.parametrize("make", [EpollPoller, LoopPoller])
async def test_a_closed_poller_leaves_nothing_open(
    make: type[EpollPoller | LoopPoller], pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    before = descriptors()
    poller = make()
    linger(poller, near)
    poller.close()
    assert near.fileno() < 0
    assert descriptors() == before - 1


async def test_the_end_of_one_socket_is_not_that_of_another(epoll: EpollPoller, net: Net) -> None:
    (one, far), (other, _) = await net.pair(), await net.pair()
    seen: list[bool] = []
    epoll.on_readable(one.sock, in_turn(lambda: seen.append(epoll.ending), lambda: epoll.forget(one.sock)))
    far.shut_write()
    await until(lambda: seen)
    epoll.on_writable(other.sock, in_turn(lambda: seen.append(epoll.ending), lambda: epoll.forget(other.sock)))
    await until(lambda: len(seen) == 2)
    assert seen == [True, False]


async def test_an_owner_that_aborts_is_not_ending(epoll: EpollPoller, net: Net) -> None:
    near, far = await net.pair()
    seen: list[bool] = []

    class Told:
        """An owner that ends."""

        def abort(self) -> None:
            """See Owner."""
            seen.append(epoll.ending)
            epoll.forget(near.sock)

    epoll.own(near.sock, fail, Told())
    far.shut_write()
    await until(lambda: seen)
    assert seen == [False]


class Session:
    """A session with frames that wait."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def flush(self) -> None:
        """See Flushing."""
        self._heard.append("flush")


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (7, ["at once"] * 7),
        (8, ["waits"] * 7 + ["at once", "flush"]),
        (20, ["waits"] * 16 + ["flush"] + ["waits"] * 3 + ["at once", "flush"]),
    ],
)
async def test_frames_wait_for_those_of_the_next_sockets(
    epoll: EpollPoller, net: Net, count: int, expected: list[str]
) -> None:
    heard: list[str] = []
    session = Session(heard)

    def readable(peer: Peer) -> None:
        peer.sock.recv(1)
        heard.append("waits" if epoll.together.on else "at once")
        if epoll.together.on:
            epoll.together.add(session)

    pairs = [await net.pair() for _ in range(count)]
    for near, far in pairs:
        epoll.on_readable(near.sock, functools.partial(readable, near))
        far.sock.send(b"x")
    await until(lambda: len(heard) == len(expected))
    assert heard == expected
    for near, _ in pairs:
        epoll.forget(near.sock)
