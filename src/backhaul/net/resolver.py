"""Look-up of names by the system's resolver in threads, with shared look-ups and remembered answers.

The system's resolver respects nsswitch.conf, /etc/hosts and split DNS, which c-ares ignores. It blocks and cannot be
interrupted, so each look-up has a daemon thread. The event loop's executor is not suitable: libuv's has four threads,
and a process waits for the threads of a pool when it ends.
"""

import asyncio
import contextlib
import contextvars
import errno
import os
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from backhaul.threads import in_thread
from backhaul.wire.targets import parse_ip

Found = tuple[tuple[int, Any], ...]
"""Families and socket addresses with any port, in the order in which to try them."""
Answer = Found | OSError
LookUp = Callable[[str], Found]
Result = TypeVar("Result")

_FRESH: Final = 30.0  # seconds for which an answer is used: getaddrinfo(3) returns no TTL
_STALE: Final = 3600.0  # seconds for which an old answer is better than none
_RETRY: Final = 1.0  # seconds between look-ups of a name that was not found
_PATIENCE: Final = 2.0  # seconds to wait for a new answer if there is an old one
_STACK: Final = 1 << 20  # bytes: glibc and its NSS modules need far less than a thread's default of 8 MiB
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def look_up(name: str) -> Found:
    """Ask the system and wait for its answer; raise OSError, or UnicodeError for a name that cannot be encoded."""
    if "\0" in name:  # getaddrinfo(3) would look up the part before it
        raise OSError(errno.EINVAL, "no valid host name")
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 first: v0.7.2 dials nothing else if there is any
    return tuple((family, address) for family, _, _, _, address in found)


async def find(name: str) -> Found:
    """Return the addresses of a host by one look-up, of which nothing is remembered; raise OSError.

    The event loop must look nothing up: uvloop's aborts the program if no thread can start.
    """
    try:
        return look_up(name) if parse_ip(name) else await in_thread(look_up, name)
    except UnicodeError:
        raise OSError(errno.EINVAL, "no valid host name") from None


class Query:
    """A question, answered or not."""

    __slots__ = ()

    def cancel(self) -> None:
        """Stop waiting; harmless after the answer."""


ANSWERED: Final = Query()


class _Waiting(Query, Generic[Result]):
    """A question that waits for a look-up."""

    __slots__ = ("_lookup",)

    def __init__(self, lookup: "_Running[Result]") -> None:
        self._lookup = lookup

    def cancel(self) -> None:
        self._lookup.waiting.pop(self, None)


class _Running(Generic[Result]):
    """A running look-up."""

    __slots__ = ("overdue", "timer", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[_Waiting[Result], Callable[[Result | OSError], None]] = {}
        self.overdue = False  # true once old answers are given instead
        self.timer: asyncio.TimerHandle | None = None

    def wait(self, answered: Callable[[Result | OSError], None]) -> Query:
        """Call ``answered`` later."""
        query = _Waiting(self)
        self.waiting[query] = answered
        return query

    def answer(self, answer: Result | OSError) -> None:
        """Pass the answer to all waiting queries."""
        while self.waiting:
            self.waiting.pop(next(iter(self.waiting)))(answer)


class _Known(Generic[Result]):
    """The answer of the last look-up of a name, and the times until which it is used."""

    __slots__ = ("answer", "fresh", "looked_up", "stale", "trusted")

    def __init__(self, answer: Result | OSError, now: float, fresh: float, trust: float, stale: float) -> None:
        self.answer = answer
        self.looked_up = now
        self.fresh = now + fresh  # until then there is no new look-up
        self.trusted = now + trust  # until then it is given at once, during a new look-up
        self.stale = now + stale  # until then it is given if a new look-up is late


class LookUps(Generic[Result]):
    """Looks names up, at most ``most`` at a time; old answers are used while the name server is late or fails.

    An answer older than 30 seconds is given at once for ``trust`` seconds, and renewed. After that queries wait for the
    new answer, but not longer than ``patience`` seconds.
    """

    def __init__(
        self,
        *,
        lookup: Callable[[str], Result],
        most: int = 64,
        names: int = 1024,
        trust: float = _STALE,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()  # threads have none
        self._lookup = lookup
        self._most = most
        self._names = names
        self._trust = trust
        self._patience = patience
        self._clock = clock
        self._known: OrderedDict[str, _Known[Result]] = OrderedDict()  # the least recently used first
        self._running: dict[str, _Running[Result]] = {}

    @property
    def remembered(self) -> int:
        """The number of remembered names."""
        return len(self._known)

    @property
    def running(self) -> int:
        """The number of running look-ups."""
        return len(self._running)

    def resolve(self, name: str, answered: Callable[[Result | OSError], None]) -> Query:
        """Call ``answered`` once, at once if possible, unless the query is cancelled or the resolver is closed."""
        known, now = self._known.get(name), self._clock()
        if known:
            self._known.move_to_end(name)
            if now < known.fresh:
                answered(known.answer)
                return ANSWERED
        lookup = self._running.get(name) or self._begin(name)
        late = isinstance(lookup, OSError) or lookup.overdue
        if known and now < known.stale and (now < known.trusted or late):
            answered(known.answer)
            return ANSWERED
        if isinstance(lookup, OSError):
            answered(lookup)
            return ANSWERED
        return lookup.wait(answered)

    async def renewed(self, name: str) -> Result:
        """Return the answer of a new look-up, or an older answer if that is late or fails; raise OSError without one.

        There is at most one look-up a second.
        """
        answer: asyncio.Future[Result | OSError] = self._loop.create_future()
        self.doubt(name)
        query = self.resolve(name, lambda found: None if answer.done() else answer.set_result(found))
        try:
            found = await answer
        finally:
            query.cancel()
        if isinstance(found, OSError):
            raise found
        return found

    def doubt(self, name: str) -> None:
        """Require a new look-up for a name whose addresses did not answer, at most once a second."""
        known = self._known.get(name)
        if known and self._clock() >= known.looked_up + _RETRY:
            known.fresh = known.trusted = known.looked_up

    def close(self) -> None:
        """Drop all waiting queries without an answer."""
        for lookup in self._running.values():
            lookup.waiting.clear()
            if lookup.timer:
                lookup.timer.cancel()
        self._running.clear()

    def _begin(self, name: str) -> _Running[Result] | OSError:
        """Start a look-up; return an error if there are too many, or no thread can start."""
        if len(self._running) >= self._most:
            return OSError(errno.EAGAIN, "too many names are being looked up")
        try:
            _start_thread(lambda: self._ask(name))
        except RuntimeError as error:
            return OSError(errno.EAGAIN, str(error))
        lookup: _Running[Result] = _Running()
        self._running[name] = lookup
        lookup.timer = self._loop.call_later(self._patience, self._late, name, lookup)
        return lookup

    def _ask(self, name: str) -> None:
        """Ask the system; runs in its own thread."""
        answer: Result | OSError
        try:
            answer = self._lookup(name)
        except OSError as error:
            answer = error
        except UnicodeError:
            answer = OSError(errno.EINVAL, "no valid host name")
        except MemoryError:
            answer = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        with contextlib.suppress(RuntimeError):  # the loop has been closed in the meantime
            self._loop.call_soon_threadsafe(self._answered, name, answer, context=self._context)

    def _answered(self, name: str, answer: Result | OSError) -> None:
        lookup = self._running.pop(name, None)
        if not lookup:
            return
        if lookup.timer:
            lookup.timer.cancel()
        lookup.answer(self._remember(name, answer))

    def _late(self, name: str, lookup: _Running[Result]) -> None:
        lookup.overdue = True
        known = self._known.get(name)
        if known and self._clock() < known.stale:
            lookup.answer(known.answer)

    def _remember(self, name: str, answer: Result | OSError) -> Result | OSError:
        """Store the answer, unless it is a failure and the old one is usable; return the answer to use."""
        known, now = self._known.get(name), self._clock()
        if not isinstance(answer, OSError):
            known = _Known(answer, now, _FRESH, self._trust, _STALE)
        elif known and now < known.stale and not _no_such_name(answer):
            known.looked_up, known.fresh = now, now + _RETRY
            known.trusted = min(known.stale, now + self._trust)
        else:
            known = _Known(answer, now, _RETRY, 0, 0)
        self._known[name] = known
        self._known.move_to_end(name)
        if len(self._known) > self._names:
            self._known.popitem(last=False)
        return known.answer


class Resolver(LookUps[Found]):
    """Look-ups of the addresses of hosts."""


def _no_such_name(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME


def _start_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a daemon thread; raise RuntimeError if none can be started."""
    before = threading.stack_size(_STACK)
    try:
        threading.Thread(target=work, name="name look-up", daemon=True).start()
    finally:
        threading.stack_size(before)
