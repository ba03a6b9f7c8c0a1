"""The pace of new tunnel connections, for networks that take a burst of them for an attack."""

import asyncio
from collections.abc import Callable

from backhaul.net.timers import EARLY


class DialPace:
    """Dials at most ``rate`` connections a second, evenly spread; without a rate at once."""

    def __init__(self, dial: Callable[[], None], rate: int) -> None:
        """``rate`` 0 sets no limit."""
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._rate = rate
        self._next = 0.0  # the time before which no connection is dialled
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = 0
        """Connections that are to be dialled."""

    def set_rate(self, rate: int) -> None:
        """Use another rate from now on."""
        self._rate = rate
        self._next = 0.0
        self._stop_waiting()
        self._go_on()

    def request(self) -> None:
        """Dial one more connection when it is its turn."""
        self.waiting += 1
        if not self._timer:
            self._go_on()

    def clear(self) -> None:
        """Forget the connections that wait."""
        self.waiting = 0
        self._stop_waiting()

    def _go_on(self) -> None:
        self._timer = None
        while self.waiting:
            now = self._loop.time()
            if self._rate and now + EARLY < self._next:
                self._timer = self._loop.call_at(self._next, self._go_on)
                return
            self._next = now + 1 / self._rate if self._rate else 0.0
            self.waiting -= 1
            self._dial()

    def _stop_waiting(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
