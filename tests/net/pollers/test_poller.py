"""The contract of both pollers, on both event loops."""

import asyncio
import functools
import socket
from collections.abc import Callable

import pytest
from tests.support.net import Peer, until
from tests.support.tunnel import Net
from tests.support.turns import turns

from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.net.pollers import EpollPoller
from backhaul.net.predicates import at_eof

pytestmark = pytest.mark.both_loops


def reader(sock: socket.socket, heard: list[bytes]) -> Callable[[], None]:
    """Return a callback that reads one byte."""
    return lambda: heard.append(sock.recv(1))


async def test_unread_bytes_are_reported_again(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    heard: list[bytes] = []
    poller.on_readable(near, reader(near, heard))
    far.send(b"abc")
    await until(lambda: b"".join(heard) == b"abc")
    poller.forget(near)


def fail() -> None:
    """Raise, as a faulty callback does."""
    raise ZeroDivisionError


class Session:
    """A session with frames that wait; ``flushed`` is called when they leave."""

    def __init__(self, flushed: Callable[[], None]) -> None:
        self._flushed = flushed

    def flush(self) -> None:
        """See Flushing."""
        self._flushed()


class TestTogether:
    """Frames wait for the users who are served together."""

    async def test_sessions_are_flushed_once_after_all_sockets_reported_together(self, net: Net) -> None:
        poller = EpollPoller()
        together, heard = poller.together, list[bytes]()
        session = Session(lambda: heard.append(b"on" if together.on else b"off"))

        def readable(sock: socket.socket) -> None:
            heard.append(sock.recv(1))
            together.add(session)

        pairs = [await net.pair() for _ in range(8)]
        for near, far in pairs:
            poller.on_readable(near.sock, functools.partial(readable, near.sock))
            far.sock.send(b"x")
        await until(lambda: len(heard) > len(pairs))
        await turns()
        assert heard == [*8 * [b"x"], b"off"]
        for near, _ in pairs:
            poller.forget(near.sock)
        poller.close()

    async def test_a_callback_may_serve_several_users(
        self, poller: Poller, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        near, far = pair
        together, heard = poller.together, list[bool]()

        def readable() -> None:
            near.recv(1)
            for _ in range(2):
                together.begin()
                heard.append(together.on)
                together.add(session)

        session = Session(lambda: heard.append(together.on))
        poller.on_readable(near, readable)
        far.send(b"x")
        await until(lambda: len(heard) == 3)
        await turns()
        assert heard == [True, True, False]
        poller.forget(near)

    async def test_an_error_of_one_session_keeps_no_other_one(
        self, poller: Poller, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard: list[bool] = []
        poller.together.begin()
        for flushed in (fail, lambda: heard.append(True)):
            poller.together.add(Session(flushed))
        await until(lambda: bool(heard))
        assert "ZeroDivisionError" in caplog.text


class Failing:
    """An owner that cannot end."""

    def abort(self) -> None:
        """Raise."""
        fail()


class TestGuard:
    """A callback that raises ends the owner of its socket only."""

    async def test_the_owner_is_told_once(
        self, poller: Poller, pair: tuple[socket.socket, socket.socket], caplog: pytest.LogCaptureFixture
    ) -> None:
        near, far = pair
        heard: list[bytes] = []
        told: list[bool] = []

        class Told:
            """An owner that ends."""

            def abort(self) -> None:
                """Release the socket."""
                told.append(poller.ending)
                release(poller, near)

        poller.guard(near, Told())
        poller.on_readable(near, fail)
        poller.on_readable(far, reader(far, heard))
        near.send(b"bc")
        far.send(b"a")
        await until(lambda: b"" in heard)
        assert b"".join(heard) == b"bc"
        assert told == [False]
        assert caplog.text.count("internal error in a connection handler; connection closed") == 1
        poller.forget(far)

    @pytest.mark.parametrize("registered", [True, False])
    async def test_deferred_callbacks_are_guarded_too(self, poller: Poller, net: Net, *, registered: bool) -> None:
        near, far = await net.pair()
        if registered:
            poller.on_readable(near.sock, lambda: None)
        asyncio.get_running_loop().call_soon(poller.run, near.sock, fail)
        assert not await far.closed()

    async def test_a_socket_without_a_guard_is_reset(self, poller: Poller, net: Net) -> None:
        near, far = await net.pair()
        poller.on_writable(near.sock, fail)
        assert not await far.closed()

    async def test_an_owner_that_fails_too(self, poller: Poller, net: Net) -> None:
        near, far = await net.pair()
        poller.guard(near.sock, Failing())
        poller.on_writable(near.sock, fail)
        assert not await far.closed()

    async def test_a_later_owner_of_the_socket_is_left_alone(self, poller: Poller, net: Net) -> None:
        near, far = await net.pair()
        heard: list[bytes] = []

        def hand_over() -> None:
            poller.forget(near.sock)
            poller.on_readable(near.sock, reader(near.sock, heard))
            fail()

        poller.on_readable(near.sock, hand_over)
        await far.send(b"ab")
        await until(lambda: b"".join(heard) == b"ab")
        poller.forget(near.sock)


async def test_the_end_is_readable(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    heard: list[bytes] = []
    poller.on_readable(near, reader(near, heard))
    far.close()
    await until(lambda: heard)
    poller.forget(near)
    assert heard[0] == b""


async def test_an_ignored_socket_is_silent_until_it_is_watched_again(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    heard: list[bytes] = []
    poller.on_readable(near, reader(near, heard))
    poller.ignore_readable(near)
    far.send(b"a")
    await turns()
    assert heard == []
    poller.on_readable(near, reader(near, heard))
    await until(lambda: heard == [b"a"])
    poller.forget(near)


async def test_reading_and_writing_are_watched_separately(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    heard: list[bytes] = []
    writable: list[bool] = []
    poller.on_readable(near, reader(near, heard))
    poller.on_writable(near, lambda: writable.append(True))
    await until(lambda: writable)
    assert heard == []
    poller.ignore_writable(near)
    await turns()  # a wake-up may be pending
    count = len(writable)
    far.send(b"a")
    await until(lambda: heard)
    assert len(writable) == count
    poller.forget(near)


async def test_a_full_socket_is_not_writable_until_it_is_read(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    writable: list[bool] = []
    try:
        while True:
            near.send(bytes(1 << 16))
    except BlockingIOError:
        pass
    poller.on_writable(near, lambda: writable.append(True))
    await turns()
    assert not writable
    try:
        while True:
            far.recv(1 << 16)
    except BlockingIOError:
        pass
    await until(lambda: writable)
    poller.forget(near)


async def test_a_new_callback_replaces_the_old_one(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    old: list[bytes] = []
    new: list[bytes] = []
    poller.on_readable(near, reader(near, old))
    poller.on_readable(near, reader(near, new))
    far.send(b"a")
    await until(lambda: new)
    assert old == []
    poller.forget(near)


async def test_a_callback_may_close_any_socket_and_the_number_may_have_a_new_owner(poller: Poller) -> None:
    """Both are readable; the first callback closes the other socket, whose number is reused at once."""
    first, second = socket.socketpair(), socket.socketpair()
    called: list[str] = []
    successors: list[socket.socket] = []

    def close(name: str, other: socket.socket) -> Callable[[], None]:
        def callback() -> None:
            called.append(name)
            poller.forget(first[0])
            release(poller, other, reset=True)
            successor, peer = socket.socketpair()
            poller.on_readable(successor, lambda: called.append("successor"))
            successors.extend((successor, peer))

        return callback

    poller.on_readable(first[0], close("first", second[0]))
    poller.on_readable(second[0], close("second", first[0]))
    first[1].send(b"x")
    second[1].send(b"x")
    await until(lambda: called)
    await turns()
    assert called == ["first"]
    for successor in successors[::2]:
        poller.forget(successor)
    for sock in (*first, *second, *successors):
        sock.close()


async def test_forgetting_twice_and_ignoring_unknown_sockets_is_harmless(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, _ = pair
    poller.ignore_readable(near)
    poller.ignore_writable(near)
    poller.on_readable(near, lambda: None)
    poller.forget(near)
    poller.forget(near)


class TestFinished:
    async def test_neither_silence_nor_bytes_are_an_end(self, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        assert not at_eof(near)
        far.send(b"last words")
        far.close()
        assert not at_eof(near)
        assert near.recv(100) == b"last words"
        assert at_eof(near)

    async def test_a_reset_is_reported_only_once(self, net: Net) -> None:
        user, near = await net.pair()
        user.reset()  # within a machine it arrives at once
        with pytest.raises(ConnectionResetError):
            at_eof(near.sock)

    async def test_only_an_orderly_end_is_announced(self, net: Net) -> None:
        poller = EpollPoller()
        told: list[bool] = []
        for finish in (Peer.shut_write, Peer.reset):
            far, near = await net.pair()
            await far.send(b"last words")
            finish(far)
            seen = len(told)
            poller.on_readable(near.sock, lambda: told.append(poller.ending))
            await until(lambda seen=seen: len(told) > seen)  # type: ignore[misc]
            poller.forget(near.sock)
        assert told[0]
        assert not told[-1]
        poller.close()


class TestRelease:
    async def test_in_order(self, poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
        near, far = pair
        poller.on_readable(near, lambda: None)
        near.send(b"last words")
        release(poller, near)
        release(poller, near)
        assert far.recv(100) == b"last words"
        assert far.recv(100) == b""

    @pytest.mark.parametrize("reset", [False, True])
    async def test_with_unread_bytes(self, poller: Poller, reset: bool) -> None:  # noqa: FBT001
        """Only ``reset`` may reset, although the kernel would do so for unread bytes."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
        far.send(b"never read")
        await until(lambda: near.recv(1, socket.MSG_PEEK))
        near.send(b"last words")
        release(poller, near, reset=reset)
        if reset:
            assert not await Peer(far).closed()
        else:
            assert far.recv(100) == b"last words"
            assert far.recv(100) == b""
        far.close()
