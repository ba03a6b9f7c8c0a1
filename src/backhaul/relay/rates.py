"""Rates that users share, and users that wait for their turn."""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from backhaul.net.timers import Timer, Timers
from backhaul.token_bucket import TokenBucket

from .traffic import Traffic

_BURST: Final = 0.1  # seconds of the rate that may pass at once
_SHORTEST: Final = 0.001  # seconds of a pause: shorter ones cost more than they smooth
_LEAST: Final = 1460  # bytes: a packet
_TURNS: Final = 100  # of users within a burst, at most
_NO_BURST: Final = 1 << 30  # bytes: no limit


class Rate:
    """A number of bytes a second that many users share in turn; owns the only timer.

    The timer keeps a rate with a debt alive, so that a source does not lose its debt with its last user.
    """

    __slots__ = ("__weakref__", "_bucket", "_queue", "_timer", "_timers", "burst")

    def __init__(self, timers: Timers, rate: float) -> None:
        self._timers = timers
        self._queue: deque[Turn] = deque()
        self._timer: Timer | None = None
        self._bucket: TokenBucket | None = None
        self.burst = _NO_BURST
        self.change(rate)

    def change(self, rate: float) -> None:
        """Use another rate from now on; waiting users continue at once, and may wait again."""
        self.burst = max(int(rate * _BURST), _LEAST) if rate else _NO_BURST
        self._bucket = self._changed(rate) if rate else None
        if self._timer:
            self._timer.cancel()
        self._timer = self._timers.call_later(0, self._go_on) if self._queue else None

    def _changed(self, rate: float) -> TokenBucket:
        now = self._timers.time()
        bucket = self._bucket or TokenBucket(rate, self.burst, now)
        bucket.change(rate, self.burst, now)
        return bucket

    @property
    def portion(self) -> int:
        """The most bytes for one turn, so that 100 users have theirs within a burst.

        A turn takes 0.1 ms of CPU time, so more of them would cost more than they smooth.
        """
        return max(self.burst // min(len(self._queue) + 1, _TURNS), _LEAST)

    @property
    def free(self) -> bool:
        """True if bytes may move now, and no user waits for that."""
        return not self._queue and not self._debt()

    def spend(self, count: int) -> None:
        """Count bytes that have moved."""
        if self._bucket:
            self._bucket.spend(self._timers.time(), count)
            self._go_on_later()

    def join(self, turn: "Turn") -> None:
        """Give ``turn`` its turn after those that already wait."""
        self._queue.append(turn)
        self._go_on_later()

    def _debt(self) -> float:
        return self._bucket.wait(self._timers.time()) if self._bucket else 0.0

    def _go_on_later(self) -> None:
        if not self._timer and (debt := self._debt()):
            self._timer = self._timers.call_later(max(debt, _SHORTEST), self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        try:
            while self._queue and not self._debt():
                self._queue.popleft().come(self)
        finally:
            if self._queue and not self._timer:
                self._timer = self._timers.call_later(max(self._debt(), _SHORTEST), self._go_on)


class Turn:
    """One direction of one user, which all of ``rates`` bound; calls ``go`` when its turn has come."""

    __slots__ = ("_come", "_go", "_rates", "_waiting")

    def __init__(self, rates: tuple[Rate, ...], go: Callable[[], None]) -> None:
        self._rates = rates
        self._go = go
        self._waiting = False
        self._come = False

    @property
    def portion(self) -> int:
        """The most bytes for one turn."""
        return min(rate.portion for rate in self._rates)

    def taken(self) -> bool:
        """Return whether bytes may move now; otherwise wait for the turn."""
        if self._come:
            return True
        if not self._waiting:
            self._wait_for(None)
        return not self._waiting

    def spend(self, count: int) -> None:
        """Count bytes that have moved."""
        for rate in self._rates:
            rate.spend(count)

    def come(self, rate: Rate) -> None:
        """Continue, unless a rate other than this one forbids it."""
        self._waiting = False
        self._wait_for(rate)
        if self._waiting:
            return
        self._come = True
        try:
            self._go()
        finally:
            self._come = False

    def _wait_for(self, passed: Rate | None) -> None:
        for rate in self._rates:
            if rate is not passed and not rate.free:
                self._waiting = True
                rate.join(self)
                return


class Allowance:
    """The bytes that datagrams may move: they can't wait, so their users take turns ahead."""

    __slots__ = ("_left", "_turn")

    def __init__(self, rates: tuple[Rate, ...]) -> None:
        self._turn = Turn(rates, self._grow)
        self._left = 0

    def spend(self, count: int) -> bool:
        """Return whether ``count`` bytes may move now, and count them if so."""
        if self._left <= self._turn.portion // 2 and self._turn.taken():
            self._grow()
        if self._left <= 0:
            return False
        self._left -= count
        self._turn.spend(count)
        return True

    def _grow(self) -> None:
        portion = self._turn.portion
        self._left = min(self._left + portion, portion)


class Rates(NamedTuple):
    """The rates of one user in both directions."""

    received: tuple[Rate, ...]
    sent: tuple[Rate, ...]


class RatedTraffic(Traffic):
    """The meters of a port, for a user with rates."""

    rates: Rates

    @classmethod
    def of(cls, traffic: Traffic, rates: Rates) -> "RatedTraffic":
        """Return the meters of ``traffic`` with ``rates``."""
        received, sent = traffic
        made = cls(received, sent)
        made.rates = rates
        return made
