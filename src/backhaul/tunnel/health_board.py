"""The health checks that the server asks a client to make."""

import itertools
from collections.abc import Callable

from msgspec.structs import replace

from backhaul.wire.checks import Check, Health

Told = Callable[[Health], None]


class HealthBoard:
    """Asks the connected client for each check, and passes its reports on."""

    def __init__(self, ask: Callable[[Check], None]) -> None:
        """``ask`` sends a request to the client, if one is connected that makes checks."""
        self._ask = ask
        self._numbers = itertools.count(1)
        self._checks: dict[int, tuple[Check, Told]] = {}

    def add(self, check: Check, told: Told) -> int:
        """Ask for a check, whose outcomes ``told`` gets; return its number."""
        number = next(self._numbers)
        numbered = replace(check, number=number)
        self._checks[number] = numbered, told
        self._ask(numbered)
        return number

    def discard(self, number: int) -> None:
        """End a check; harmless for one that has ended."""
        if found := self._checks.pop(number, None):
            self._ask(replace(found[0], interval=0))

    def client_came(self) -> None:
        """Ask a new client for all checks."""
        for check, _ in self._checks.values():
            self._ask(check)

    def reported(self, health: Health) -> None:
        """Pass an outcome on; one of a check that has ended is ignored."""
        if found := self._checks.get(health.number):
            found[1](health)
