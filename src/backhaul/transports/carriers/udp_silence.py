"""The silence of a client's UDP tunnels while its control channel works: something has begun to block UDP."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from backhaul.relay.fit import Fit

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from backhaul.relay.resources import Timekeeper


class UdpSilence:
    """Looks now and then whether a client, which announces its tunnels all the time, has been heard."""

    def __init__(self, timekeeper: "Timekeeper", fit: Callable[[], Fit]) -> None:
        """``fit`` returns the evidence of the transport that has the client now."""
        self._timekeeper = timekeeper
        self._fit = fit
        self._timer: TimerHandle | None = None
        self._heard = self._silent = False

    def begin(self) -> None:
        """Expect announcements from now on."""
        self.end()
        self._heard, self._silent = True, False
        self._wait()

    def end(self) -> None:
        """Expect none, because there is no control channel."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def heard(self) -> None:
        """Note an announcement."""
        self._heard = True
        if self._silent:
            self._silent = False
            self._fit().proved()

    def _wait(self) -> None:
        self._timer = self._timekeeper.loop.call_later(self._timekeeper.patience.unannounced, self._look)

    def _look(self) -> None:
        if not self._heard and not self._silent:
            self._silent = True
            self._fit().ceased()
        self._heard = False
        self._wait()
