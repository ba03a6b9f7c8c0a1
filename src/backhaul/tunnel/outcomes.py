"""The outcomes of users: a debug line for each, and a warning when too many get no answer."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from backhaul.config import Address
from backhaul.net.log_throttle import LogThrottle
from backhaul.relay.outcome import Done, Ending, Outcome

from .ports import Port

RECENT: Final = 20  # the last users to end
SUSPICIOUS: Final = 5  # unanswered ones among them, and at least half of them
_BLACK_HOLES: Final = frozenset({Ending.LOST, Ending.SILENT})
_GIVEN_UP: Final = frozenset({Ending.USER, Ending.RESET_BY_USER})


class Outcomes:
    """Counts, in ``unanswered``, the users who sent bytes and received none.

    Users who leave within ``patience`` seconds do not count: they have changed their mind.
    """

    def __init__(self, log: logging.Logger, patience: float, answered: Callable[[float], None]) -> None:
        """Call ``answered`` at the end of an answered user, with the time of its arrival by the loop's clock."""
        self.unanswered = 0
        self.last_user = -math.inf  # arrival of the last user, by the loop's clock
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._throttle = LogThrottle(log)
        self._patience = patience
        self._recent: deque[bool] = deque(maxlen=RECENT)  # True for each user without an answer

    def expect(self, port: Port, address: tuple[Any, ...]) -> Done:
        """Return the callback for the end of a user who arrives now."""
        self.last_user = now = self._loop.time()
        return _User(self, port, address, now)

    def ended(self, port: Port, address: tuple[Any, ...], since: float, outcome: Outcome) -> None:
        """Judge the end of a user of ``expect``, who arrived at ``since`` by the loop's clock."""
        port.open -= 1
        seconds = self._loop.time() - since
        if outcome.sent:
            self._answered(since)
            self._recent.append(False)
        else:
            self._judge(port, outcome, seconds)
        if self._log.isEnabledFor(logging.DEBUG):
            self._log.debug(
                "%s", describe(f"user {name(address)} of port {port.name}", port.mapping.target, outcome, seconds)
            )

    def _judge(self, port: Port, outcome: Outcome, seconds: float) -> None:
        """Count a user who received no bytes."""
        if outcome.ending is Ending.RESET_BY_TARGET:
            port.target_refused += 1
        elif outcome.ending is Ending.NOT_CARRIED:
            return
        unanswered = self._is_unanswered(outcome, seconds)
        self._recent.append(unanswered)
        if not unanswered:
            return
        self.unanswered += 1
        count = sum(self._recent)
        if count >= max(SUSPICIOUS, len(self._recent) / 2):
            self._throttle.warn(
                "unanswered",
                f"{count} of the last {len(self._recent)} users got no answer through the tunnel, the last one on port "
                f"{port.name}: look for a NAT or firewall between both ends that drops connections (a lower "
                "keepalive_period), for a smaller MTU on the way (mss = 1300), and at the target "
                f"{port.mapping.target}",
            )

    def _is_unanswered(self, outcome: Outcome, seconds: float) -> bool:
        if not outcome.received:
            return False
        return outcome.ending in _BLACK_HOLES or (outcome.ending in _GIVEN_UP and seconds >= self._patience)


class _User:
    """A user in flight, for ``Outcomes``. A ``functools.partial`` would take three times the memory."""

    __slots__ = ("_address", "_outcomes", "_port", "_since")

    def __init__(self, outcomes: Outcomes, port: Port, address: tuple[Any, ...], since: float) -> None:
        self._outcomes = outcomes
        self._port = port
        self._address = address
        self._since = since

    def __call__(self, outcome: Outcome) -> None:
        self._outcomes.ended(self._port, self._address, self._since, outcome)


def name(address: tuple[Any, ...]) -> str:
    """Return address and port of a user."""
    return str(Address(*address[:2])) if address[1] else str(address[0])


def describe(who: str, target: str, outcome: Outcome, seconds: float) -> str:
    """Return the log line of a user who has left."""
    return (
        f"{who}, target {target}: {outcome.received} bytes from the user, {outcome.sent} bytes to the user, "
        f"{seconds:.1f} s, {outcome.ending.value}"
    )
