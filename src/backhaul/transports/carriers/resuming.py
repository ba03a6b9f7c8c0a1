"""The client's search for another connection for sessions that have lost their own, or are about to."""

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from backhaul.errors import TransportError, reason, retry_after, was_refused
from backhaul.mux.greeting import Greeting, encode_greeting, first_reader, frame, read_answer
from backhaul.mux.link import Link
from backhaul.mux.resumable_link import ResumableLink
from backhaul.net.closing import release
from backhaul.net.deadlines import Deadlines
from backhaul.net.poller import WOULD_BLOCK
from backhaul.net.sending import send_whole
from backhaul.security import kinds
from backhaul.security.records import Record
from backhaul.transports.client_end import Door
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.smux import Role

from .ahead import Ahead
from .breaks import Breaks
from .links import make_line
from .watch import Cause, Watch

if TYPE_CHECKING:
    from .resources import ResumerResources

log = logging.getLogger("backhaul.mux")

_READ_SIZE: Final = 1 << 12
# A connection must last for so many seconds, or move so many bytes, until the next attempt comes without a pause.
_LASTING: Final = 2.0
_MUCH: Final = 1 << 12


class Resumer:
    """Dials for each session that needs another connection, one attempt at a time, while there is a control channel."""

    def __init__(
        self,
        relay: "ResumerResources",
        door: Door,
        resumed: Callable[[ResumableLink], None],
        *,
        serves: Callable[[Link], bool],
        doubt: Callable[[], None],
        disowned: Callable[[], None],
        messages: bool,
    ) -> None:
        """``resumed`` gets each session that has another connection.

        ``serves`` returns whether there is a control channel, and the session belongs to the transport. ``doubt`` is
        called when that channel may be dead, too: a session was silent, or the server did not take it. ``disowned`` is
        called when the server refused a connection, because it may know the channel no more.
        """
        self.relay = relay
        self.messages = messages
        self._door = door
        self._resumed = resumed
        self._loop = asyncio.get_running_loop()
        self._serves = serves
        self._doubt = doubt
        self._disowned = disowned
        self._watch = Watch(relay, self._want)
        self._ahead = Ahead(
            functools.partial(door.dial, resumes=True), functools.partial(release, relay.poller), relay.patience.ahead
        )
        self._attempts: dict[Link, Attempt] = {}
        self._vain: dict[Link, _Vain] = {}
        self._breaks = Breaks(relay.complaints, self._loop.time)
        self._not_before = 0.0  # the time until which a proxy has asked this client to wait
        self._greeted: Deadlines[Attempt] = Deadlines(relay.patience.resume, Attempt.late)

    def disconnected(self) -> None:
        """Stop dialling until there is another control channel; connections that have named a session may succeed."""
        self._ahead.clear()
        for link, attempt in list(self._attempts.items()):
            if attempt not in self._greeted:
                del self._attempts[link]

    def connected(self) -> None:
        """Dial for silent sessions at once, because there is a control channel again.

        Failures on the former one do not count: on a line that breaks more often than the pauses last, no
        session would get another connection.
        """
        self._vain.clear()
        self._watch.look()

    def watch(self, link: Link) -> None:
        """Watch a new session."""
        if isinstance(link, ResumableLink):
            self._watch.add(link)

    def lost(self, link: Link) -> None:
        """Find another connection for a session that has none."""
        if isinstance(link, ResumableLink):
            self._want(link, Cause.LOST)

    def _want(self, link: ResumableLink, cause: Cause) -> None:
        """Find another connection for a session, now or after a pause."""
        if link in self._attempts or not self._serves(link):
            return
        attempt = self._attempts[link] = Attempt(self, link, cause)
        pause = self._vain_of(link).pause(link, self._loop.time())
        self._loop.call_later(pause, self._dial, attempt)
        if cause is Cause.SILENT:
            self._doubt()

    def forget(self, link: Link) -> None:
        """Stop searching for a connection for a session, which has ended."""
        self._vain.pop(link, None)
        self._breaks.forget(link)
        if attempt := self._attempts.pop(link, None):
            self._greeted.discard(attempt)
            attempt.abort()

    def current(self, attempt: "Attempt") -> bool:
        """Return whether this attempt has not been given up."""
        return self._attempts.get(attempt.link) is attempt

    def greeted(self, attempt: "Attempt") -> None:
        """Limit the time until the server's answer."""
        self._greeted.add(attempt)

    def failed(self, attempt: "Attempt") -> None:
        """Forget an attempt that the server did not answer."""
        self._doubt()
        self.over(attempt)

    def refused(self, attempt: "Attempt") -> None:
        """Forget an attempt whose connection the server closed, as it does if it does not know the control channel."""
        self._disowned()
        self.over(attempt)

    def unopened(self, error: Exception) -> None:
        """Dial for no session as long as a proxy has asked for a pause with an error."""
        asked = min(retry_after(error), self.relay.patience.asked)
        self._not_before = max(self._not_before, self._loop.time() + asked)
        if was_refused(error):
            self._disowned()
        else:
            self._doubt()

    def over(self, attempt: "Attempt") -> None:
        """Forget an attempt, and make another one if the session has no connection."""
        link = attempt.link
        self._greeted.discard(attempt)
        if self.current(attempt):
            del self._attempts[link]
        if link.closed:
            self._vain.pop(link, None)
        elif link.parked:
            self.lost(link)

    def succeeded(self, attempt: "Attempt") -> None:
        """Report a resumed session, unless the connection could not be used in the end."""
        self.over(attempt)
        link = attempt.link
        if link.closed or link.parked:
            return
        if attempt.cause is Cause.ROTATION:
            self.relay.resumption.rotations += 1
        else:
            in_vain = attempt.cause is Cause.SILENT or link.unacknowledged > 0
            self._breaks.replaced(link, _passed(link), attempt.cause.value, in_vain=in_vain)
        self._watch.replaced(link, attempt.cause, attempt.carried, self._loop.time() - attempt.begun)
        self._vain_of(link).succeeded(link, self._loop.time())
        self._resumed(link)

    def vain(self, link: Link) -> bool:
        """Return whether nothing passes on the connections of a session, although they are opened."""
        return isinstance(link, ResumableLink) and self._breaks.vain(link, _passed(link))

    def _vain_of(self, link: Link) -> "_Vain":
        return self._vain.setdefault(link, _Vain(self.relay.patience.again))

    def _dial(self, attempt: "Attempt") -> None:
        if not self.current(attempt):
            return
        if not attempt.needed:
            self.over(attempt)
        elif self._loop.time() < self._not_before:
            self._loop.call_at(self._not_before, self._dial, attempt)
        else:
            attempt.begun = self._loop.time()
            self._dial_now(attempt)

    def _dial_now(self, attempt: "Attempt") -> None:
        """Dial, unless a connection is ready; while a session works, the line can be trusted with that one."""
        often = attempt.cause is Cause.ROTATION and self._watch.rotates_often
        if connection := self._ahead.take() if often else None:
            attempt.dialled(connection)
        else:
            self._door.dial(attempt.dialled, resumes=True)


def _passed(link: ResumableLink) -> int:
    """Return a number that grows with everything that arrives from the server."""
    return link.signs + link.received


class _Vain:
    """The failed attempts of a session."""

    __slots__ = ("_count", "_moved", "_pauses", "_since")

    def __init__(self, pauses: Sequence[float]) -> None:
        self._pauses = pauses
        self._count = 0
        self._moved = -1  # bytes that had arrived at the last success, on both ends together
        self._since = 0.0

    def succeeded(self, link: ResumableLink, now: float) -> None:
        """Note that the session has another connection, which may not last."""
        self._moved, self._since = link.received + link.acknowledged, now

    def pause(self, link: ResumableLink, now: float) -> float:
        """Return the seconds to wait before an attempt."""
        moved = link.received + link.acknowledged - self._moved
        if self._moved >= 0 and moved > 0:
            self._count = 0 if moved >= _MUCH or now - self._since > _LASTING else 1
        self._moved = -1
        pause = self._pauses[min(self._count, len(self._pauses) - 1)]
        self._count += 1
        return pause


class Attempt:
    """One attempt to give a session another connection, on which the server's answer is awaited."""

    def __init__(self, resumer: Resumer, link: ResumableLink, cause: Cause) -> None:
        self.link = link
        self.cause = cause
        self.begun = 0.0
        """The time at which the connection was dialled."""
        self.carried: Sequence[int] = ()
        """The bytes in each direction that the former connection has carried."""
        self._resumer = resumer
        self._signs = link.signs
        self._poller = resumer.relay.poller
        self._connection: SealedConnection | None = None

    @property
    def needed(self) -> bool:
        """True unless the session must not resume, or its silent connection works again."""
        if self.link.closed or not self.link.kept:
            return False
        return self.link.parked or self.cause is not Cause.SILENT or self.link.signs == self._signs

    def dialled(self, result: Connection | Exception) -> None:
        """Name the session on a new connection."""
        if isinstance(result, SealedConnection) and self._resumer.current(self) and self.needed:
            self._greet(result)
            return
        if isinstance(result, Connection):
            release(self._poller, result.sock)
        else:
            log.debug("can't open a connection for session %d: %s", self.link.number, result)
            self._resumer.unopened(result)
        if self._resumer.current(self):
            self._resumer.over(self)

    def abort(self) -> None:
        """Close the connection, because something has failed."""
        if self._connection:
            release(self._poller, self._connection.sock)

    def late(self) -> None:
        """Give up a server that does not answer."""
        self._fail("no answer in time")

    def _greet(self, connection: SealedConnection) -> None:
        self._connection = connection
        self._resumer.greeted(self)
        self.link.epoch += 1
        greeting = Greeting(self.link.identity, self.link.epoch, self.link.received)
        messages = self._resumer.messages
        data = frame(connection.seals, kinds.RESUME, encode_greeting(greeting), messages=messages, masked=True)
        self._reader = first_reader(connection.seals.opener, messages=messages, masked=False)
        self._poller.guard(connection.sock, self)
        send_whole(self._poller, connection.sock, data, self._listen, lambda error: self._closed(reason(error)))

    def _listen(self) -> None:
        if connection := self._connection:
            try:
                self._poller.own(connection.sock, functools.partial(self._readable, connection), self)
            except OSError as error:  # ENOSPC, ENOMEM: epoll_ctl(2)
                self._fail(reason(error))
                return
            if connection.received:
                self._feed(connection, connection.received)

    def _readable(self, connection: SealedConnection) -> None:
        try:
            data = connection.sock.recv(_READ_SIZE)
        except WOULD_BLOCK:
            return
        except OSError as error:
            self._closed(reason(error))
            return
        if data:
            self._feed(connection, data)
        else:
            self._closed("the server closed it")

    def _feed(self, connection: SealedConnection, data: bytes) -> None:
        try:
            if record := self._reader.feed(data):
                self._answered(connection, record)
        except TransportError as error:
            self._fail(str(error))

    def _answered(self, connection: SealedConnection, record: Record) -> None:
        link, answer = self.link, read_answer(record)
        if not self._resumer.current(self) or link.closed:
            self.abort()
            self._resumer.over(self)
            return
        if not answer:
            self.abort()
            link.on_bye()
            self._resumer.over(self)
            return
        self.carried = link.carried
        if not link.parked:
            link.part()
        link.settle_position()
        line = make_line(connection, Role.SERVER, messages=self._resumer.messages)
        link.move(line, received=answer.received, start=answer.start, rest=record.rest)
        self._resumer.succeeded(self)

    def _closed(self, why: str) -> None:
        self._give_up(why)
        self._resumer.refused(self)

    def _fail(self, why: str) -> None:
        self._give_up(why)
        self._resumer.failed(self)

    def _give_up(self, why: str) -> None:
        log.debug("connection for session %d: %s", self.link.number, why)
        self.abort()
