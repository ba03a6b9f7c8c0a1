"""Reloads: the requests for one, and its outcome in words."""

import asyncio
from collections.abc import Callable, Sequence

from backhaul.api.messages import Changes, Loaded
from backhaul.config import PortMapping
from backhaul.config.diff import Change
from backhaul.config.messages import few
from backhaul.monitor.status import CLOSED, PortStatus

from .errors import BackhaulError


class Reloads:
    """Requests for a reload; some callers wait for the outcome."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._waiting: list[asyncio.Future[Loaded]] = []
        self._over = False
        self.requested = False

    def request(self) -> None:
        """Ask for a reload."""
        self.requested = True
        self._wake()

    async def ask(self) -> Loaded:
        """Ask for a reload and return its outcome; raise BackhaulError if there is none any more."""
        if self._over:
            raise BackhaulError("the program stops and reloads nothing; start it again")
        outcome: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._waiting.append(outcome)
        self.request()
        return await outcome

    def begin(self) -> Callable[[Loaded], None]:
        """Return a function that tells the outcome to all callers who have asked until now."""
        waiting, self._waiting = self._waiting, []
        self.requested = False

        def tell(outcome: Loaded) -> None:
            for one in waiting:
                if not one.done():
                    one.set_result(outcome)

        return tell

    def close(self) -> None:
        """Refuse present and future requests."""
        self._over = True
        for one in self._waiting:
            if not one.done():
                one.set_exception(BackhaulError("the program has been stopped before the reload"))


def changes_of(change: Change) -> Changes:
    """Return a change in the words of the API."""
    return Changes(
        keys=change.changed,
        restart=change.restart,
        ports_added=_names(change.ports_added),
        ports_removed=_names(change.ports_removed),
        ports_retargeted=_names(change.ports_retargeted),
    )


def _names(mappings: Sequence[PortMapping]) -> tuple[str, ...]:
    return tuple(mapping.bind for mapping in mappings)


def summary(change: Change, states: Sequence[PortStatus]) -> str:
    """Return what a reload has changed, in one line; ``states`` are those of all ports."""
    down = {
        (port.bind, port.port, port.protocol): f"{port.name} ({port.problem})"
        for port in states
        if port.problem not in {"", *CLOSED}
    }
    added = sum(port.place not in down for port in change.ports_added)
    ports = [f"{added} added"] if added else []
    ports += [f"{len(change.ports_removed)} removed"] if change.ports_removed else []
    ports += [f"{len(change.ports_retargeted)} with another target or protocol"] if change.ports_retargeted else []
    ports += [f"{len(down)} could not be opened: {few(list(down.values()))}"] if down else []
    changes = [f"ports: {', '.join(ports)}"] if ports else []
    changes += [f"keys: {', '.join(change.changed)}"] if change.changed else []
    return "; ".join(changes) or "nothing has changed"
