"""The warning of connections that do not last, although users survive that."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from backhaul.net.log_throttle import LogThrottle

_ENOUGH: Final = 5  # of one session, within this many seconds: a phone that changes its network does not come near
_WITHIN: Final = 60.0


class Breaks:
    """The times at which sessions have got another connection because theirs was lost or silent."""

    def __init__(self, complaints: LogThrottle, now: Callable[[], float]) -> None:
        """``now`` returns seconds of a clock that never goes back."""
        self._complaints = complaints
        self._now = now
        self._times: dict[Hashable, deque[float]] = {}

    def replaced(self, session: Hashable, why: str) -> None:
        """Note that a session has another connection; ``why`` says what was wrong with the last one."""
        times = self._times.setdefault(session, deque(maxlen=_ENOUGH))
        times.append(self._now())
        if len(times) == _ENOUGH and times[-1] - times[0] <= _WITHIN:
            times.clear()
            self._warn(why)

    def forget(self, session: Hashable) -> None:
        """Forget a session that has ended."""
        self._times.pop(session, None)

    def _warn(self, why: str) -> None:
        self._complaints.warn(
            "breaks",
            f"tunnel connections do not last: a session got {_ENOUGH} new ones within a minute, the last one because "
            f"{why}, and its users waited each time; something in between ends connections or drops their bytes: "
            "try another transport or port",
        )
