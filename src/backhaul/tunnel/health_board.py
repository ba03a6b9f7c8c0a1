"""The health checks that the server asks a client to make."""

import itertools
import math
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from backhaul.net.timers import Timer, Timers
from backhaul.wire.checks import Check, Health

Told = Callable[[Health], None]

_SOONEST: Final = 0.8  # intervals of the check from one report to the next; a client waits for a whole one


class HealthBoard:
    """Asks the connected client for each check, and passes its reports on."""

    def __init__(self, ask: Callable[[Check], None], timers: Timers) -> None:
        """``ask`` sends a request to the client, if one is connected that makes checks."""
        self._ask = ask
        self._timers = timers
        self._numbers = itertools.count(1)
        self._checks: dict[int, _Asked] = {}

    def add(self, check: Check, told: Told) -> int:
        """Ask for a check, whose outcomes ``told`` gets; return its number."""
        number = next(self._numbers)
        numbered = replace(check, number=number)
        self._checks[number] = _Asked(numbered, told, self._timers)
        self._ask(numbered)
        return number

    def discard(self, number: int) -> None:
        """End a check; harmless for one that has ended."""
        if found := self._checks.pop(number, None):
            found.begin()
            self._ask(replace(found.check, interval=0))

    def client_came(self) -> None:
        """Ask a new client for all checks."""
        for asked in self._checks.values():
            asked.begin()
            self._ask(asked.check)

    def reported(self, health: Health) -> None:
        """Pass an outcome on; one of a check that has ended is ignored."""
        if found := self._checks.get(health.number):
            found.reported(health)


class _Asked:
    """A check, whose outcomes are passed on no faster than a client can find them.

    Each turns all ports of a group, and moves its users. With 1000 ports a client that reported without a pause stopped
    the users of all others for half a second at a time.
    """

    __slots__ = ("_latest", "_next", "_timer", "_timers", "_told", "check")

    def __init__(self, check: Check, told: Told, timers: Timers) -> None:
        self.check = check
        self._told = told
        self._timers = timers
        self._timer: Timer | None = None  # set while an outcome waits
        self._next = -math.inf  # the time before which no other outcome is passed on

    def begin(self) -> None:
        """Drop the outcome that waits; the next one is of another client."""
        self._next = -math.inf
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def reported(self, health: Health) -> None:
        """Pass on an outcome now, or the last one later."""
        self._latest = health
        if self._timer:
            return
        if (pause := self._next - self._timers.time()) <= 0:
            self._tell()
        else:
            self._timer = self._timers.call_later(pause, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._next = self._timers.time() + _SOONEST * self.check.interval
        self._told(self._latest)
