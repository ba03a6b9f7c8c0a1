"""How long a client waits before it dials its server again: arithmetic, without a clock of its own.

After a control channel that worked it waits for a moment only, as users wait on the other end. Attempts in vain are
made less and less often. Two clients with one token would push each other out for ever: the server keeps the control
channel that was opened last and closes the other one, and that is all the other client gets to know.
"""

import random
from collections.abc import Callable

_AT_ONCE = 0.2  # seconds at most after a control channel that worked
_JITTER = 0.25  # either way: clients of a restarted server should not come all at once
_RESTARTING = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0)  # seconds between attempts while a server restarts, which users notice
_WORKED = 1.0  # seconds; a server that stops sooner than that is not hurried after
_LONGEST = 48.0  # seconds; with jitter a minute at most
_DOUBLINGS = 10  # more would not matter: intervals are whole seconds
TURNS = 3  # control channels in a row that are closed soon: another client is taking turns with this one
_BRIEF, _MOST_BRIEF = 10.0, 30.0  # seconds that mean "soon": two pauses of the other client, within these limits
_RESTART = 3  # attempts that fail while a server starts anew; more of them mean that it was away
_TURN = 8  # pauses of this client that the next one of the other may last: two doublings ahead, and jitter


class Pauses:
    """Remembers what became of the attempts so far. `spread(low, high)` returns something between the two."""

    def __init__(self, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._spread = spread
        self._in_vain = 0  # attempts in a row that failed or did not last
        self._failed = 0  # attempts in a row that failed
        self._restarting: list[float] = []  # pauses to come for a server that has said that it stops
        self._last = 0.0  # pause before such an attempt
        self.turns = 0  # control channels in a row that the server closed soon

    @property
    def taking_turns(self) -> bool:
        """Whether another client with the same token seems to take turns with this one."""
        return self.turns >= TURNS

    def failed(self, interval: float) -> float:
        """The server could not be reached; return the seconds to wait. `interval` is the first such pause.

        That alone speaks for no server that is really away: v0.7.2's starts anew for each client that comes on ws.
        """
        if self._restarting:
            return min(interval, self._restarting.pop(0)) * self._spread(1 - _JITTER, 1 + _JITTER)
        self._failed += 1
        if self._failed > _RESTART:
            self.turns = 0
        return self._longer(interval)

    def lost(self, interval: float, lasted: float, *, closed: bool) -> float:
        """A control channel is gone, closed by the server without a word or not; return the seconds to wait."""
        self._failed = 0
        self._restarting.clear()
        soon = closed and lasted < self._brief(interval)
        self.turns = self.turns + 1 if soon else 0
        if lasted > interval and not self.taking_turns:
            self._in_vain = 0
            return self._spread(0, _AT_ONCE)
        if soon and self.turns <= TURNS:  # the other one must find out as well before the pauses grow
            self._in_vain = 0
        return self._longer(interval)

    def stopped(self, interval: float, lasted: float) -> float:
        """The server has said that it stops, most likely for a restart; return the seconds to wait."""
        pause = self.lost(interval, lasted, closed=False)
        if lasted < _WORKED:
            return pause
        self._in_vain = 0
        self._restarting.extend(_RESTARTING)
        return self._spread(0, _AT_ONCE)

    def _brief(self, interval: float) -> float:
        brief = max(_BRIEF, min(2 * interval, _MOST_BRIEF))
        return max(brief, _TURN * self._last) if self.taking_turns else brief

    def _longer(self, interval: float) -> float:
        doubled = interval * 2 ** min(self._in_vain, _DOUBLINGS)
        self._in_vain += 1
        self._last = min(doubled, max(_LONGEST, interval)) * self._spread(1 - _JITTER, 1 + _JITTER)
        return self._last


class Repeats:
    """Tells which of many equal lines are worth writing: the first, second, fourth, … and every 64th."""

    def __init__(self) -> None:
        self._text = ""
        self._count = 0

    def worded(self, text: str) -> str:
        """Return the line to write, empty if it has been written often enough."""
        self._count = self._count + 1 if text == self._text else 1
        self._text = text
        if self._count == 1:
            return text
        return f"{text} ({self._count} times in a row)" if _worth_saying(self._count) else ""

    def forget(self) -> None:
        """Begin anew."""
        self._text = ""


def _worth_saying(count: int) -> bool:
    return count & (count - 1) == 0 or count % 64 == 0
