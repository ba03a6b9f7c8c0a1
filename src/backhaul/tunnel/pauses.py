"""The client's pauses before it dials its server again, without a clock of its own.

After a control channel that worked the pause is short, because users wait on the other end. It grows with failed
attempts. Two clients with one token would replace each other for ever: the server keeps the last control channel and
closes the other one. A server of v0.7.2 gives no reason for that.
"""

import random
from collections.abc import Callable

_AT_ONCE = 0.2  # seconds at most after a control channel that worked
_JITTER = 0.25  # either way: clients of a restarted server should not all dial at once
_RESTARTING = (0.25, 0.5, 0.5, 1.0, 1.0, 2.0)  # seconds between attempts while a server restarts, which users notice
_WORKED = 1.0  # seconds; a server that stops earlier is not dialled more often
_LONGEST = 48.0  # seconds; with jitter a minute at most
_HOPEFUL, _LONGEST_HOPEFUL = 60, 5.0  # failed attempts after a control channel that worked: most outages are short
_DOUBLINGS = 10  # more would not matter: intervals are whole seconds
TURNS = 3  # control channels in a row that are closed early: another client takes turns with this one
_BRIEF, _MOST_BRIEF = 10.0, 30.0  # seconds that count as early: two pauses of the other client, within these limits
_RESTART = 3  # attempts that fail during a restart of the server; more of them mean that it was away
_TURN = 8  # the other client's next pause in pauses of this client, at most: two doublings ahead, and jitter


class Pauses:
    """Remembers the outcomes of attempts; ``spread(low, high)`` returns a number between the two."""

    def __init__(self, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._spread = spread
        self._in_vain = 0  # consecutive attempts that failed or did not last
        self._failed = 0  # consecutive attempts that failed
        self._restarting: list[float] = []  # further pauses for a server that has announced its stop
        self._worked = False  # the last control channel
        self._last = 0.0  # the last pause after an unsuccessful attempt
        self._asked = 0.0  # seconds for which the other end has asked
        self.turns = 0  # consecutive control channels that the server closed early

    @property
    def taking_turns(self) -> bool:
        """True if another client with the same token seems to take turns with this one."""
        return self.turns >= TURNS

    def failed(self, interval: float, asked: float = 0.0) -> float:
        """Return the seconds to wait after a failed attempt; ``interval`` is the first such pause.

        A proxy may have ``asked`` for a longer one, up to the longest of all. A single failure does not mean that the
        server is away: v0.7.2's restarts for each client on ws.
        """
        self._asked = min(asked, _LONGEST) * self._spread(1, 1 + _JITTER)
        return max(self._asked, self._after_failure(interval))

    def _after_failure(self, interval: float) -> float:
        if self._restarting:
            return min(interval, self._restarting.pop(0)) * self._spread(1 - _JITTER, 1 + _JITTER)
        self._failed += 1
        if self._failed > _RESTART:
            self.turns = 0
        hopeful = self._worked and self._failed <= _HOPEFUL
        return self._longer(interval, _LONGEST_HOPEFUL if hopeful else _LONGEST)

    def at_most(self, pause: float, most: float) -> float:
        """Return a shorter pause if it is longer than ``most``, unless a proxy has asked for it.

        So it is even if another client takes turns with this one: a server that can resume sessions refuses the second
        client while the first one is alive.
        """
        return max(self._asked, min(pause, most * self._spread(1 - _JITTER, 1 + _JITTER)))

    def lost(self, interval: float, lasted: float, *, closed: bool) -> float:
        """Return the seconds to wait after the loss of a control channel.

        ``closed`` is true if the server has closed it for another one, or for no reason that it gives.
        """
        self._failed = 0
        self._asked = 0.0
        self._restarting.clear()
        soon = closed and lasted < self._brief(interval)
        self.turns = self.turns + 1 if soon else 0
        if lasted > interval and not self.taking_turns:
            self._in_vain = 0
            self._worked = True
            return self._spread(0, _AT_ONCE)
        self._worked = False
        if soon and self.turns <= TURNS:  # the other client must notice too before the pauses grow
            self._in_vain = 0
        return self._longer(interval)

    def stopped(self, interval: float, lasted: float) -> float:
        """Return the seconds to wait for a server that has announced its stop, most likely for a restart."""
        pause = self.lost(interval, lasted, closed=False)
        if lasted < _WORKED:
            return pause
        self._in_vain = 0
        self._restarting.extend(_RESTARTING)
        return self._spread(0, _AT_ONCE)

    def _brief(self, interval: float) -> float:
        brief = max(_BRIEF, min(2 * interval, _MOST_BRIEF))
        return max(brief, _TURN * self._last) if self.taking_turns else brief

    def _longer(self, interval: float, longest: float = _LONGEST) -> float:
        doubled = interval * 2 ** min(self._in_vain, _DOUBLINGS)
        self._in_vain += 1
        self._last = min(doubled, max(longest, interval)) * self._spread(1 - _JITTER, 1 + _JITTER)
        return self._last


class Repeats:
    """Selects which of many equal lines to write: the first, second, fourth, … and every 64th."""

    def __init__(self) -> None:
        self._text = ""
        self._count = 0

    def worded(self, text: str) -> str:
        """Return the line to write, or an empty one if this repeat is skipped."""
        self._count = self._count + 1 if text == self._text else 1
        self._text = text
        if self._count == 1:
            return text
        return f"{text} ({self._count} times in a row)" if _worth_saying(self._count) else ""

    def forget(self) -> None:
        """Start counting again."""
        self._text = ""


def _worth_saying(count: int) -> bool:
    return count & (count - 1) == 0 or count % 64 == 0
