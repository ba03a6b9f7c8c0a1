"""The outcomes of users: a debug line for each, and a warning when too many get no answer."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from backhaul.addresses import address_text, plain_ip
from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.outcome import Ending, Outcome, Progress, next_number
from backhaul.reports import UserEnd
from backhaul.state import UserState

from .places import Places, Room
from .port import Port
from .roll import Record

if TYPE_CHECKING:
    from .limiting import Limiting  # which ends users, too

RECENT: Final = 20  # the last users to end
SUSPICIOUS: Final = 5  # unanswered ones among them, and at least half of them
_BLACK_HOLES: Final = frozenset({Ending.LOST, Ending.SILENT})
_NO_EVIDENCE: Final = frozenset({Ending.NOT_CARRIED, Ending.CLOSED, Ending.LIMIT})
_WHOLE: Final = 1.5 * 2.0**52  # next to it floats are whole numbers; int and round take three times as long
_GIVEN_UP: Final = frozenset({Ending.USER, Ending.RESET_BY_USER})

Report = Callable[[UserEnd], None]

ENDINGS: Final = {
    Ending.USER: "user",
    Ending.TARGET: "target",
    Ending.RESET_BY_USER: "user_reset",
    Ending.RESET_BY_TARGET: "target_reset",
    Ending.SILENT: "timeout",
    Ending.LOST: "lost",
    Ending.SHORT_OF_MEMORY: "memory",
    Ending.FAILED: "error",
    Ending.SHUTDOWN: "shutdown",
    Ending.NOT_CARRIED: "not_carried",
    Ending.CLOSED: "closed",
    Ending.LIMIT: "limit",
}
"""The words of the access log."""


class Outcomes:
    """Counts, in ``unanswered``, the users who sent bytes and received none.

    Users who leave within ``patience`` seconds do not count: they have given up early.
    """

    def __init__(
        self,
        log: logging.Logger,
        patience: float,
        answered: Callable[[float], None],
        transport: str,
        *,
        limiting: "Limiting",
        places: Places,
    ) -> None:
        """Call ``answered`` at the end of an answered user, with the time of its arrival by the loop's clock.

        ``transport`` carries future users.
        """
        self.transport = transport
        self.client = ""  # name or address of the client that connected last
        self.client_name = ""  # of the same client, empty without one
        self.report: Report | None = None  # learns of each user who has left
        self.unanswered = 0
        self.last_user = -math.inf  # arrival of the last user, by the loop's clock
        self._limiting = limiting
        self.places = places
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._throttle = LogThrottle(log)
        self._patience = patience
        self._recent: deque[bool] = deque(maxlen=RECENT)  # True for each user without an answer

    def expect(self, port: Port, address: tuple[Any, ...], room: Room) -> "ServedUser":
        """Return the record of a user who arrives now, and takes a place in ``room``."""
        self.last_user = now = self._loop.time()
        room.enter()
        return ServedUser(self, port, address, now, room)

    def carried(self, port: Port, seconds: float) -> None:
        """Note that a user has found a carrier after so many seconds."""
        port.times[self.client_name].waiting.observe(seconds)

    def ended(self, user: "ServedUser", outcome: Outcome) -> None:
        """Judge the end of a user of ``expect``."""
        user.port.open -= 1
        user.room.leave()
        if not self._limiting.unlimited:
            self._limiting.left(user, outcome.received + outcome.sent)
        seconds = self._loop.time() - user.since
        user.port.times[self.client_name].duration.observe(seconds)
        if self.report:
            self.report(user.end(outcome, seconds))
        if outcome.sent:
            user.port.health.succeed()
            self._answered(user.since)
            self._recent.append(False)
        else:
            self._judge(user, outcome, seconds)
        if self._log.isEnabledFor(logging.DEBUG):
            who = f"user {name(user.address)} of port {user.port.name}"
            self._log.debug("%s", describe(who, user.target, outcome, seconds))

    def _judge(self, user: "ServedUser", outcome: Outcome, seconds: float) -> None:
        """Count a user who received no bytes."""
        if outcome.ending is Ending.RESET_BY_TARGET:
            user.port.target_refused += 1
            user.port.health.fail("connection reset before an answer")
        elif outcome.ending in _NO_EVIDENCE:
            return
        unanswered = self._is_unanswered(outcome, seconds)
        self._recent.append(unanswered)
        if not unanswered:
            return
        self.unanswered += 1
        if sum(self._recent) >= max(SUSPICIOUS, len(self._recent) / 2):
            self._warn(user)

    def _warn(self, user: "ServedUser") -> None:
        self._throttle.warn(
            "unanswered",
            f"{sum(self._recent)} of the last {len(self._recent)} users got no answer through the tunnel, the last one "
            f"on port {user.port.name}: look for a NAT or firewall between both ends that drops connections (a lower "
            "keepalive_period), for a smaller MTU on the way (mss = 1300), and at the target "
            f"{user.target}",
        )

    def _is_unanswered(self, outcome: Outcome, seconds: float) -> bool:
        if not outcome.received:
            return False
        return outcome.ending in _BLACK_HOLES or (outcome.ending in _GIVEN_UP and seconds >= self._patience)


class ServedUser(Record):
    """A user in flight on the public end, with the target and the transport at the time of the arrival."""

    __slots__ = ("_outcomes", "address", "counted", "port", "room", "target", "transport")

    def __init__(self, outcomes: Outcomes, port: Port, address: tuple[Any, ...], since: float, room: Room) -> None:
        self.number = next_number()
        self.since = since
        self._outcomes = outcomes
        self.port = port
        self.room = room
        self.address = address
        self.counted = 0  # bytes that quotas have seen
        self.target = port.mapping.target
        self.transport = outcomes.transport

    @property
    def bind_port(self) -> int:
        """The local port."""
        return self.port.mapping.bind_port

    @property
    def client(self) -> str:
        """The name of the client."""
        return self._outcomes.places.client

    @property
    def ip(self) -> str:
        """The address without a port."""
        return plain_ip(self.address)

    def change_client(self, outcomes: Outcomes, room: Room) -> None:
        """Wait for another client from now on, with a place in ``room``."""
        self.room.leave()
        room.enter()
        self._outcomes, self.room, self.transport = outcomes, room, outcomes.transport

    def __call__(self, outcome: Outcome) -> None:
        """Judge the end of the user."""
        self._outcomes.ended(self, outcome)

    def end(self, outcome: Outcome, seconds: float) -> UserEnd:
        """Return the end of this user for the access log."""
        host, port = self.address[0], self.address[1]
        received, sent, ending = outcome
        return UserEnd(
            "",
            self.number,
            "tcp",
            host if ":" not in host else plain_ip(self.address),
            port,
            self.port.label,
            self._outcomes.client,
            self.target,
            received,
            sent,
            (seconds * 1000 + _WHOLE - _WHOLE) / 1000,
            ENDINGS[ending],
        )

    def state(self, progress: Progress, now: float) -> UserState:
        """Return the state of this user."""
        return UserState(
            number=self.number,
            datagrams=False,
            age=now - self.since,
            host=self.ip,
            port=self.address[1],
            bind_host=self.port.mapping.bind_host,
            bind_port=self.port.mapping.bind_port,
            client=self._outcomes.client,
            target=self.target,
            transport=self.transport,
            stream=progress.stream,
            phase=progress.phase,
            received=progress.received,
            sent=progress.sent,
        )


def name(address: tuple[Any, ...]) -> str:
    """Return address and port of a user."""
    host, port = address[0], address[1]
    # Most users have IPv4, for which this takes a third of the time; each line of the access log has a name.
    return f"{host}:{port}" if ":" not in host and port else address_text(plain_ip(address), port)


def describe(who: str, target: str, outcome: Outcome, seconds: float) -> str:
    """Return the log line of a user who has left."""
    return (
        f"{who}, target {target}: {outcome.received} bytes from the user, {outcome.sent} bytes to the user, "
        f"{seconds:.1f} s, {outcome.ending.value}"
    )
