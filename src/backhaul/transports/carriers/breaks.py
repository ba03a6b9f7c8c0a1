"""The warning of connections that do not last, although users survive that."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from backhaul.net.log_throttle import LogThrottle

_VAIN: Final = 3  # connections of one session on which nothing has passed, one after the other
_MANY: Final = 5  # of one session, within this many seconds: a phone that changes its network does not come near
_WITHIN: Final = 60.0
_REMEDY: Final = "something in between ends connections or drops their bytes: try another transport or port"


class _Break(NamedTuple):
    at: float
    passed: int
    in_vain: bool


class Breaks:
    """The times at which sessions have got another connection because theirs was lost or silent."""

    def __init__(self, complaints: LogThrottle, now: Callable[[], float]) -> None:
        """``now`` returns seconds of a clock that never goes back."""
        self._complaints = complaints
        self._now = now
        self._last: dict[Hashable, deque[_Break]] = {}

    def replaced(self, session: Hashable, passed: int, why: str, *, in_vain: bool) -> None:
        """Note that a session has another connection.

        ``passed`` grows with what arrives on its connections; ``why`` says what was wrong with the last one.
        ``in_vain`` is true if something was sent on that, and not acknowledged: an idle one may be lost without a sign.
        """
        last = self._last.setdefault(session, deque(maxlen=_MANY))
        last.append(_Break(self._now(), passed, in_vain))
        if self.vain(session, passed):
            self._warn(f"tunnel connections begin, but nothing passes on them, {_VAIN} times in a row ({why})")
        elif len(last) == _MANY and last[-1].at - last[0].at <= _WITHIN:
            last.clear()
            self._warn(f"tunnel connections do not last: a session got {_MANY} new ones within a minute ({why})")

    def vain(self, session: Hashable, passed: int) -> bool:
        """Return whether nothing has passed on the last connections of a session, nor on the present one."""
        last = [each.passed for each in self._last.get(session, ()) if each.in_vain][-_VAIN:]
        return last == _VAIN * [passed]

    def forget(self, session: Hashable) -> None:
        """Forget a session that has ended."""
        self._last.pop(session, None)

    def _warn(self, what: str) -> None:
        self._complaints.warn("breaks", f"{what}, and users wait each time; {_REMEDY}")
