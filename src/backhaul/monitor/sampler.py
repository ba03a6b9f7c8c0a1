"""Throughput of the last minutes and load of the machine, sampled once a second."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .settings import INTERVAL
from .traffic import Machine, Network, Traffic

HISTORY: Final = 300
"""Samples kept: five minutes."""


@dataclass(frozen=True, slots=True)
class _Look:
    time: float
    tunnel: Traffic
    network: Network | None


class Sampler:
    """Samples once a second; holds the history of rates and the latest figures of the machine.

    ``machine_rate`` is None if the machine has no counters of its network.

    ``totals``, the bytes of all users, and ``measure`` are called in ``tick()`` only. ``clock`` returns monotonic
    seconds, ``interval`` is the time between two samples.
    """

    def __init__(
        self,
        totals: Callable[[], Traffic],
        measure: Callable[[], Machine],
        clock: Callable[[], float] = time.monotonic,
        interval: float = INTERVAL,
    ) -> None:
        self.interval = interval
        self._totals = totals
        self._measure = measure
        self._clock = clock
        self.history: deque[Traffic] = deque(maxlen=HISTORY)
        self.machine = measure()
        self._last = self._look()
        self.machine_rate = Traffic(0, 0) if self._last.network else None

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.sleep(self.interval)
            self.tick()

    def tick(self) -> None:
        """Take one sample."""
        self.machine = self._measure()
        before, self._last = self._last, self._look()
        seconds = self._last.time - before.time
        if seconds > 0:
            self.history.append(_rate(before.tunnel, self._last.tunnel, seconds))
            self.machine_rate = _network_rate(before.network, self._last.network, seconds)

    def _look(self) -> _Look:
        return _Look(self._clock(), self._totals(), self.machine.network)


def _network_rate(before: Network | None, after: Network | None, seconds: float) -> Traffic | None:
    return _rate(before, after, seconds) if before and after else None


def _rate(before: Traffic | Network, after: Traffic | Network, seconds: float) -> Traffic:
    # Totals fall when a reload removes a port.
    return Traffic(
        max(0.0, after.received - before.received) / seconds,
        max(0.0, after.sent - before.sent) / seconds,
    )
