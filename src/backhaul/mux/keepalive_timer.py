"""The timer of a session's keepalives, by which each end knows that the other one is alive."""

import random
from asyncio import AbstractEventLoop, TimerHandle
from typing import Final, Protocol

from backhaul.wire.smux import SmuxError

_EARLIEST: Final = 0.6  # of the interval


class Beating(Protocol):
    """The link that a timer belongs to."""

    @property
    def deadline(self) -> float:
        """The time of the event loop at which ``beat`` has something to do."""

    def beat(self, share: float) -> None:
        """Send a NOP if one is due after ``share`` of the interval. Raises SmuxError after a long silence."""

    def lost(self, why: str) -> None:
        """Act on a silent connection."""

    def fail(self, error: Exception) -> None:
        """End because of an unexpected exception."""


class KeepaliveTimer:
    """Lets a link beat while it has a connection."""

    __slots__ = ("_link", "_loop", "_regular", "_timer")

    def __init__(self, loop: AbstractEventLoop, link: Beating, *, regular: bool) -> None:
        """Beat like a clock if ``regular``, and otherwise at random moments."""
        self._loop = loop
        self._link = link
        self._regular = regular
        self._timer: TimerHandle | None = None

    def begin(self) -> None:
        """Beat from now on."""
        self.end()
        self._timer = self._loop.call_at(self._link.deadline, self._beat)

    def end(self) -> None:
        """Beat no more."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        timer = self._timer
        try:
            self._link.beat(1.0 if self._regular else random.uniform(_EARLIEST, 1))  # noqa: S311
        except SmuxError as error:
            self._link.lost(str(error))
        except Exception as error:  # noqa: BLE001 - without a further beat the session would never end
            self._link.fail(error)
        else:
            if self._timer is timer:  # otherwise the connection was lost, or another one has been found
                self.begin()
