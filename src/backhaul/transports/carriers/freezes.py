"""The number of bytes after which connections freeze, as ``net/freezing.py`` describes it.

A session gets another connection whenever its present one is silent, but that takes seconds for each of these pieces.
Once the number is known, connections are replaced ahead of it.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple

from backhaul.net.freezing import ALIKE, MOST, alike
from backhaul.net.log_throttle import LogThrottle

_LEAST: Final = 1 << 12  # bytes in one direction: with fewer, each connection would carry little but its handshakes
_WITHIN: Final = 300.0  # seconds in which connections must freeze until they are compared
_SUSPICION: Final = 60.0  # seconds after a freeze in which others are likely: users whose data is stuck are there
_PART: Final = 0.75  # of the smallest number, at which a connection is replaced
_REFUTED: Final = 2  # times the limit: connections that were alike froze before
_TRIALS: Final = (60.0, 3600.0)  # seconds until a session tries twice the number, at first and at most


class Freezes:
    """Learns how many bytes connections carry until they freeze, for each direction by itself.

    A firewall may count one direction only, and bulk in the other one must not wait for it.
    """

    def __init__(self, complaints: LogThrottle, now: Callable[[], float]) -> None:
        """``now`` returns seconds of a clock that never goes back."""
        self._ways = _Way(complaints, now), _Way(complaints, now)

    @property
    def known(self) -> bool:
        """True while connections are known to freeze."""
        return any(way.limit for way in self._ways)

    @property
    def suspected(self) -> bool:
        """True while that is known, or likely since one did so."""
        return any(way.limit or way.suspected for way in self._ways)

    def possible(self, carried: Sequence[int]) -> bool:
        """Return whether a silent server may be behind a freeze, after this many bytes from it."""
        return _LEAST <= carried[0] <= MOST

    def likely(self, session: Hashable, carried: Sequence[int]) -> bool:
        """Return whether a connection that is silent is likely to freeze: as much was carried by the last that did."""
        return any(way.likely(session, count) for way, count in zip(self._ways, carried, strict=True))

    def due(self, session: Hashable, carried: Sequence[int]) -> bool:
        """Return whether a connection should be replaced that has carried so many bytes in each direction."""
        return any(way.due(session, count) for way, count in zip(self._ways, carried, strict=True))

    def near(self, session: Hashable, carried: Sequence[int]) -> bool:
        """Return whether a connection has carried half of that, so that a silence is likely to be a freeze.

        Only long silences, which ``froze`` counts, show that a number is too large: no connection is near one that is
        not certain.
        """
        return any(way.near(session, count) for way, count in zip(self._ways, carried, strict=True))

    def froze(self, session: Hashable, carried: Sequence[int]) -> bool:
        """Note a connection that became silent while another one could be opened; return whether a freeze is likely."""
        return True in [way.froze(session, count) for way, count in zip(self._ways, carried, strict=True)]

    def lasted(self, session: Hashable, carried: Sequence[int]) -> None:
        """Note a connection that was replaced for another reason."""
        for way, count in zip(self._ways, carried, strict=True):
            way.lasted(session, count)

    def forget(self, session: Hashable) -> None:
        """Forget a session that has ended, or was silent for another reason."""
        for way in self._ways:
            way.forget(session)

    def forget_all(self) -> None:
        """Forget all sessions, because the line has changed; the limits stay, but more is tried soon."""
        for way in self._ways:
            way.forget_all()


class _Freeze(NamedTuple):
    at: float
    carried: int


class _Way:
    """One direction of all connections."""

    def __init__(self, complaints: LogThrottle, now: Callable[[], float]) -> None:
        self.limit = 0.0
        """Bytes at which a connection should be replaced; 0 if none is known to freeze."""
        self._complaints = complaints
        self._now = now
        self._known = 0.0  # the limit that connections have shown, unless a larger one seems to hold
        # In a row, of each session by itself: a change of the line silences one of each.
        self._last: dict[Hashable, deque[_Freeze]] = {}
        self._froze_at = -_SUSPICION
        self._trier: Hashable = None  # one session at a time, whose users wait for seconds if its connection freezes
        self._trial = _TRIALS[0]
        self._next_trial = 0.0

    @property
    def suspected(self) -> bool:
        return self._now() - self._froze_at < _SUSPICION

    def likely(self, session: Hashable, carried: int) -> bool:
        last = [each.carried for each in self._last.get(session, ())]
        return bool(last and carried) and self.suspected and alike([*last, carried])

    def due(self, session: Hashable, carried: int) -> bool:
        return 0 < self._limit_of(session) < carried

    def near(self, session: Hashable, carried: int) -> bool:
        return self._is_certain(session) and 0 < self.limit < 2 * carried

    def froze(self, session: Hashable, carried: int) -> bool:
        if not _LEAST <= carried <= MOST:
            self.forget(session)
            return False
        if carried < self._limit_of(session) and not self._is_certain(session):
            self._trial = min(2 * self._trial, _TRIALS[1])
            self._set(self._known, self._trial)
        self._froze_at = self._now()
        last = self._last.setdefault(session, deque(maxlen=ALIKE))
        last.append(_Freeze(self._froze_at, carried))
        if len(last) == ALIKE and last[-1].at - last[0].at <= _WITHIN:
            self._compare([each.carried for each in last])
        return True

    def lasted(self, session: Hashable, carried: int) -> None:
        """Now and then, let a session try whether its connections carry more; one that did so is proof."""
        self._last.pop(session, None)
        if not 0 < self.limit < carried:
            return
        if carried > _REFUTED * self.limit:
            self._raise(carried)
        elif self._trier is None and self._now() >= self._next_trial:
            self._trier = session

    def forget(self, session: Hashable) -> None:
        self._last.pop(session, None)
        if session == self._trier:
            self._trier = None

    def forget_all(self) -> None:
        self._last.clear()
        self._trier = None
        self._trial = _TRIALS[0]
        self._next_trial = min(self._next_trial, self._now() + self._trial)

    def _is_certain(self, session: Hashable) -> bool:
        return self._known == self.limit and session != self._trier

    def _limit_of(self, session: Hashable) -> float:
        return _REFUTED * self.limit if session == self._trier else self.limit

    def _compare(self, last: Sequence[int]) -> None:
        least = min(last)
        limit = max(_PART * least, _LEAST)
        if not alike(last) or 0 < self.limit <= limit:
            return
        self._known = limit
        self._set(limit, self._trial)
        self._complaints.warn(
            "freezes",
            f"tunnel connections freeze after some {least / 1000:.0f} kB, as firewalls of some countries let them; "
            "each is replaced before that, which is slow: another address, port or transport may do better",
        )

    def _raise(self, limit: float) -> None:
        """Use a larger limit, and try more at once."""
        if limit > MOST:
            self._known = limit = 0.0
        self._set(limit, 0)

    def _set(self, limit: float, trial: float) -> None:
        """Use a limit, and let a session try more after some seconds."""
        self.limit = limit
        self._trier = None
        self._next_trial = self._now() + trial
