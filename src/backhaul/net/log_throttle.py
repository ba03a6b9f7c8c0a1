"""Throttling of log lines that would repeat by the thousand: one line per burst."""

import errno
import logging
import math
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from backhaul.errors import MEMORY_ADVICE


@dataclass(slots=True)
class _Silence:
    since: float = -math.inf
    swallowed: int = 0

    def count(self, now: float) -> str:
        return f" (and {self.swallowed} more in the last {now - self.since:.0f} s)" if self.swallowed else ""


class LogThrottle:
    """Warnings that would repeat by the thousand, written once per burst.

    The first warning of a key is written at once. Repeats within ``interval`` seconds of that line are only counted,
    and the next line gives their number. At most ``max_keys`` keys are distinguished in one interval. Further keys
    share a single one, so neither memory nor the log grows with the number of peers. After its interval a key may be
    replaced, and its count is lost.
    """

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        interval: float = 10.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = 32,
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._clock = clock
        self._max_keys = max_keys
        self._silences: OrderedDict[Hashable, _Silence] = OrderedDict()  # the longest silent first
        self._overflow = _Silence()

    def warn(self, key: Hashable, message: str) -> bool:
        """Log ``message`` as a warning, unless ``key`` was logged a moment ago; return whether it was logged."""
        return self._log(logging.WARNING, key, message)

    def error(self, key: Hashable, message: str) -> bool:
        """Log ``message`` as an error, unless ``key`` was logged a moment ago; return whether it was logged."""
        return self._log(logging.ERROR, key, message)

    def fault(self, message: str, error: BaseException) -> None:
        """Log an unexpected exception with its traceback, or count it if the same line raised one a moment ago.

        A lack of memory, also of the kernel's, is no defect of the program: its line names the remedy.
        """
        if lack := _lack(error):
            self.error(lack, f"connection closed: {lack}")
            return
        self._log(logging.ERROR, (type(error), _origin(error)), message, error)

    def _log(self, level: int, key: Hashable, message: str, error: BaseException | None = None) -> bool:
        now = self._clock()
        silence = self._silence_of(key, now)
        if now - silence.since < self._interval:
            silence.swallowed += 1
            return False
        self._logger.log(level, "%s%s", message, silence.count(now), exc_info=error)
        silence.since, silence.swallowed = now, 0
        if silence is not self._overflow:
            self._silences.move_to_end(key)
        return True

    def _silence_of(self, key: Hashable, now: float) -> _Silence:
        if key not in self._silences and len(self._silences) >= self._max_keys:
            oldest, silence = next(iter(self._silences.items()))
            if now - silence.since < self._interval:
                return self._overflow
            del self._silences[oldest]
        return self._silences.setdefault(key, _Silence())


def _lack(error: BaseException) -> str:
    """Return the resource that was missing, and the remedy; empty for any other error."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # epoll_ctl(2)
        return "the kernel watches no more sockets; raise fs.epoll.max_user_watches"
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return f"out of memory; {MEMORY_ADVICE}"
    return ""


def _origin(error: BaseException) -> Hashable:
    """Return the line that raised ``error``."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return frame.f_code, line
