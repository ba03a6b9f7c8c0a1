"""Users arriving at the client: their targets are dialled, if allowed, and joined with them."""

import asyncio
import errno
import functools
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Final

from backhaul.errors import reason
from backhaul.net.closing import release
from backhaul.net.connector import Dialer, Dialled, ForbiddenAddressError, Permit, anywhere
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import FAULT, Poller
from backhaul.net.resolver import Resolver
from backhaul.net.sockets import SocketOptions
from backhaul.relay.outcome import FAILED, Outcome, Progress, next_number
from backhaul.state import UserState
from backhaul.transports.client_end import Arrival
from backhaul.wire.allowed import ALLOWED, REFUSED, AllowList, Verdict
from backhaul.wire.targets import BadTargetError, Target, parse_target

from .outcomes import describe
from .roll import Record, Row
from .target_book import TargetBook, TargetCounters

log = logging.getLogger("backhaul.client")

DIALLING: Final = Progress(0, 0, "dialling", "")
_UNKNOWN: Final = TargetCounters("")
_LIMIT_ADVICE: Final = "raise the limit of open files (LimitNOFILE), unless it is an attack"


class Arrivals:
    """Dials targets, at most ``most`` of a kind at a time, within ``timeout`` seconds; counts users in ``book``.

    ``refused`` tells the server about a target that is not dialled, and why. The users come over ``transport``.
    """

    def __init__(
        self,
        poller: Poller,
        resolver: Resolver,
        book: TargetBook,
        refused: Callable[[str, str], None],
        *,
        transport: str,
        timeout: float,
        keepalive: int,
        most: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        end = poller.descriptors.users_end
        self._streams = Dialer(poller, timeout, resolver, end=end)
        self._datagrams = Dialer(poller, timeout, resolver, socket.SOCK_DGRAM, end=end)
        self._most = most
        self._book = book
        self._refused = refused
        # Connections to targets always have TCP_NODELAY, as in v0.7.2: `nodelay` concerns the tunnel only.
        self._options = SocketOptions(nodelay=True, keepalive=keepalive)
        self._allowed = AllowList()
        self._throttle = LogThrottle(log)
        self._transport = transport
        self._users: dict[ArrivedUser, Arrival] = {}  # whose targets are being dialled

    @property
    def dialling(self) -> int:
        """The number of targets being dialled."""
        return len(self._streams) + len(self._datagrams)

    def allow(self, entries: Iterable[str]) -> None:
        """Let new users reach these targets only, or all targets if there are no entries."""
        self._allowed = AllowList(entries)

    def arrived(self, arrival: Arrival) -> None:
        """Dial the user's target and join both, or refuse the user."""
        try:
            target = parse_target(arrival.target)
        except BadTargetError as error:
            self._throttle.warn("target", f"{error}; user refused")
            arrival.refuse(reset=True)
            return
        verdict = self._allowed.judge(target.host, target.port)
        if verdict is REFUSED:
            self._forbid(arrival)
        elif len(self._datagrams if arrival.datagrams else self._streams) >= self._most:
            self._overloaded(arrival)
        else:
            self._dial(arrival, target, anywhere if verdict is ALLOWED else self._permit(verdict, target))

    def reach(self, text: str, done: Dialled) -> None:
        """Connect to a target without a user, and call ``done`` once, as a dialer does."""
        try:
            target = parse_target(text)
        except BadTargetError as error:
            done(OSError(errno.EINVAL, str(error)))
            return
        verdict = self._allowed.judge(target.host, target.port)
        if verdict is REFUSED:
            done(OSError(errno.EACCES, "the client does not allow this target"))
        elif len(self._streams) >= self._most:
            done(OSError(errno.EAGAIN, "too many targets are being dialled"))
        else:
            self._streams.dial(target.host, target.port, self._options, done, self._permit(verdict, target))

    def _permit(self, verdict: Verdict, target: Target) -> Permit:
        """Return the judgement of the addresses of a target that is not refused."""
        if verdict is ALLOWED:
            return anywhere
        return lambda address: self._allowed.allows_address(address, target.port)

    def close(self) -> None:
        """Stop dialling; users waiting for their targets are refused."""
        self._streams.close()
        self._datagrams.close()

    def _dial(self, arrival: Arrival, target: Target, permit: Permit) -> None:
        dialer = self._datagrams if arrival.datagrams else self._streams
        make = ArrivedFlow if arrival.datagrams else ArrivedUser
        user = make(self, arrival.target, self._transport, self._loop.time())
        self._users[user] = arrival
        dialled = functools.partial(self._dialled, user, target)
        try:
            dialer.dial(target.host, target.port, self._options, dialled, permit)
        except Exception as error:  # noqa: BLE001 - after any error the user must not wait for ever
            self._users.pop(user, None)
            self._break_off(arrival, error)

    def _dialled(self, user: "ArrivedUser", target: Target, result: socket.socket | OSError) -> None:
        arrival = self._users.pop(user, None)
        if not arrival:  # closed by the administrator
            if isinstance(result, socket.socket):
                release(self._poller, result)
        elif isinstance(result, ForbiddenAddressError):
            self._forbid(arrival)
        elif isinstance(result, OSError):
            self._fail(arrival, target, result)
        else:
            self._join(user, arrival, result)

    def _forbid(self, arrival: Arrival) -> None:
        """Refuse the user with a reset; made-up names get no entry in the book, where they would replace real ones."""
        remedy = self._allowed.remedy(arrival.target)
        text = f"target {arrival.target}: user refused, not in allow_targets; {remedy}"
        if self._throttle.warn(("allow_targets", arrival.target), text):
            self._refused(arrival.target, "not in allow_targets of the client")
        self._book.others.refused += 1
        arrival.refuse(reset=True)

    def _overloaded(self, arrival: Arrival) -> None:
        text = f"target {arrival.target}: user refused, {self._most} targets are being dialled already"
        if self._throttle.warn("dialling", f"{text}; {_LIMIT_ADVICE}"):
            self._refused(arrival.target, f"{self._most} targets are being dialled already")
        self._book[arrival.target].refused += 1
        arrival.refuse(reset=True)

    def _fail(self, arrival: Arrival, target: Target, error: OSError) -> None:
        text = reason(error)
        if error.errno == errno.EMFILE:
            text = f"{text}; {_LIMIT_ADVICE}"
        if self._throttle.warn((target, text), f"target {arrival.target}: cannot be reached: {text}"):
            self._refused(arrival.target, f"cannot be reached: {text}")
        self._book[arrival.target].user_failed(text)
        # After a reset the user knows that there was no answer. Only a silent target ends as an empty answer.
        arrival.refuse(reset=error.errno != errno.ETIMEDOUT)

    def _join(self, user: "ArrivedUser", arrival: Arrival, sock: socket.socket) -> None:
        user.counters = counters = self._book[arrival.target]
        user.target = counters.target or user.target  # one text for all users of the target
        user.begin()
        try:
            arrival.join(sock, counters.traffic, user)
        except Exception as error:  # noqa: BLE001 - as for dialling
            release(self._poller, sock, reset=True)
            user(FAILED)
            self._break_off(arrival, error)

    def closed(self, user: "ArrivedUser", outcome: Outcome) -> None:
        """Log the end of a user of a stream."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", describe("a user", user.target, outcome, self._loop.time() - user.since))

    def dialled_for(self) -> Iterator[Row]:
        """Return the users whose targets are being dialled."""
        for user in list(self._users):
            if user in self._users:
                state = user.state(DIALLING, self._loop.time())
                yield Row(state, functools.partial(self._reset, user))

    def _reset(self, user: "ArrivedUser") -> None:
        if arrival := self._users.pop(user, None):
            arrival.refuse(reset=True)

    def _break_off(self, arrival: Arrival, error: Exception) -> None:
        arrival.refuse(reset=True)
        self._poller.faults.fault(FAULT, error)


class ArrivedUser(Record):
    """A user in flight on the client. It must not hold the arrival, which would live as long as the user."""

    __slots__ = ("_arrivals", "counters", "target", "transport")

    datagrams: ClassVar = False

    def __init__(self, arrivals: Arrivals, target: str, transport: str, since: float) -> None:
        self.number = next_number()
        self.since = since
        self._arrivals = arrivals
        self.target = target
        self.transport = transport
        self.counters = _UNKNOWN  # until the target is reached

    def __call__(self, outcome: Outcome) -> None:
        """Count the end of the user."""
        self.counters.user_closed()
        self._arrivals.closed(self, outcome)

    def begin(self) -> None:
        """Count the user, whose target is reached."""
        self.counters.user_came()

    def state(self, progress: Progress, now: float) -> UserState:
        """Return the state of this user."""
        return UserState(
            number=self.number,
            datagrams=self.datagrams,
            age=now - self.since,
            target=self.target,
            transport=self.transport,
            stream=progress.stream,
            phase=progress.phase,
            received=progress.received,
            sent=progress.sent,
        )


class ArrivedFlow(ArrivedUser):
    """A UDP user in flight on the client."""

    __slots__ = ()

    datagrams = True

    def __call__(self, _: Outcome) -> None:
        """Count the end of the user."""
        self.counters.flow_closed()

    def begin(self) -> None:
        """Count the user, whose target is reached."""
        self.counters.flow_came()
