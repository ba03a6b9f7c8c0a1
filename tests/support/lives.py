"""Users of random lives, each with bytes of its own, and the service that they reach."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from enum import IntEnum, auto
from struct import Struct
from typing import Any, NamedTuple, Self

from .net import Listener, Peer

_HEAD = Struct("!QIIB")  # number, bytes of the user, bytes of the answer, course
_SIZES = (0, 1, 100, 5_000, 60_000)
_LARGE = 1_000_000
_SLOW = 1 << 14  # bytes of a read


class Course(IntEnum):
    """A way in which the connection of a user ends."""

    USER_FIRST = auto()
    TARGET_FIRST = auto()
    TOGETHER = auto()
    USER_RESETS = auto()
    TARGET_RESETS = auto()


_WEIGHTS = (50, 20, 20, 5, 5)


class Life(NamedTuple):
    """One user."""

    number: int
    sent: int
    answered: int
    course: Course
    slow: bool

    @classmethod
    def of(cls, number: int) -> Self:
        """Return the life of a user, the same at each call."""
        chance = random.Random(number)  # noqa: S311 - repeatable
        sizes = [chance.choice(_SIZES) if chance.random() < 0.98 else _LARGE for _ in range(2)]
        course = chance.choices(list(Course), _WEIGHTS)[0]
        return cls(number, sizes[0], sizes[1], course, slow=chance.random() < 0.2)

    @property
    def clean(self) -> bool:
        """True if both directions end in order."""
        return self.course not in {Course.USER_RESETS, Course.TARGET_RESETS}

    @property
    def head(self) -> bytes:
        """The first bytes of the user."""
        return _HEAD.pack(self.number, self.sent, self.answered, self.course)

    def of_user(self) -> bytes:
        """Return the user's bytes."""
        return random.Random(2 * self.number).randbytes(self.sent)  # noqa: S311 - repeatable

    def of_target(self) -> bytes:
        """Return the answer."""
        return random.Random(2 * self.number + 1).randbytes(self.answered)  # noqa: S311 - repeatable


async def _all(peer: Peer, *, slow: bool) -> bytes:
    if not slow:
        return await peer.receive_all()
    data = b""
    while piece := await asyncio.get_running_loop().sock_recv(peer.sock, _SLOW):
        data += piece
        await asyncio.sleep(0)
    return data


class Crowd:
    """The service, and the users' verdicts: ``wrong`` names all users who did not get exactly the expected bytes."""

    def __init__(self, listener: Listener) -> None:
        self.wrong: list[tuple[str, Life]] = []
        self._listener = listener
        self._tasks: set[asyncio.Task[Any]] = set()
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        """Stop, when all users have ended."""
        await asyncio.gather(*self._tasks)
        self._accepting.cancel()

    async def live(self, life: Life, peer: Peer) -> None:
        """Be a user."""
        try:
            answer = await self._as_user(life, peer)
        except OSError:
            answer = None
        peer.close()
        if life.clean and answer != life.of_target():
            self.wrong.append(("user", life))
        if life.course is Course.TARGET_RESETS and answer:
            self.wrong.append(("user of a reset", life))

    async def _as_user(self, life: Life, peer: Peer) -> bytes:
        if life.course is Course.USER_RESETS:
            await peer.send(life.head + life.of_user()[: life.sent // 2])
            peer.reset()
            return b""
        await peer.send(life.head)
        if life.course is Course.TARGET_FIRST:
            answer = await _all(peer, slow=life.slow)
            await peer.send(life.of_user())
            return answer
        sending = asyncio.create_task(self._send(peer, life.of_user()))
        answer = await _all(peer, slow=life.slow)
        await sending
        return answer

    async def _send(self, peer: Peer, data: bytes) -> None:
        with contextlib.suppress(OSError):
            await peer.send(data)
            peer.shut_write()

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listener.sock)
            task = asyncio.create_task(self._serve(Peer(sock)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, peer: Peer) -> None:
        try:
            number, *_ = _HEAD.unpack(await peer.receive(_HEAD.size))
        except (EOFError, OSError):  # of a user who has reset the connection at once
            peer.close()
            return
        life = Life.of(number)
        if life.course is Course.TARGET_RESETS:
            peer.reset()
            return
        try:
            received = await self._as_target(life, peer)
        except OSError:
            received = None
        peer.close()
        if life.clean and received != life.of_user():
            self.wrong.append(("target", life))
        if received and not life.of_user().startswith(received):
            self.wrong.append(("target of a reset", life))

    async def _as_target(self, life: Life, peer: Peer) -> bytes:
        if life.course is Course.USER_FIRST:
            received = await _all(peer, slow=life.slow)
            await peer.send(life.of_target())
            return received
        sending = asyncio.create_task(self._send(peer, life.of_target()))
        received = await _all(peer, slow=life.slow)
        await sending
        return received


def lives(count: int, first: int = 0) -> Iterator[Life]:
    """Yield the lives of ``count`` users."""
    return map(Life.of, range(first, first + count))
