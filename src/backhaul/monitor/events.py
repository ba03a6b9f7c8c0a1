"""The last lines of the log, kept for the page and the status, and passed on to their followers."""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from backhaul.system.log import TUNNEL, escape

from .status import Event

KEPT_EVENTS: Final = 100
"""Enough to show a sequence of events, in some 20 KB."""

MAX_EVENT_TEXT: Final = 500
"""Characters. Log lines are shorter; a longer one quotes a peer."""


class EventLog(logging.Handler):
    """Keeps the last lines from level info up; attach it to the logger "backhaul" and detach it at the end."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.run = f"{time.time_ns():x}"
        """A name of this log, other than those of earlier and later ones."""
        self._tunnel = TUNNEL.get()
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._count = 0
        self._followers: dict[Callable[[], object], None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record as text: its arguments may hold on to sockets or change later.

        Lines of other ends in this process are left out.
        """
        if TUNNEL.get() not in {"", self._tunnel}:
            return
        text = escape(record.getMessage())[:MAX_EVENT_TEXT]
        self._count += 1
        self._events.append(Event(self._count, record.created, record.levelname.lower(), text))
        for told in list(self._followers):
            told()

    def events(self) -> tuple[Event, ...]:
        """Return the kept lines, the newest last."""
        return tuple(self._events)

    @property
    def followers(self) -> int:
        """The number of followers of the log."""
        return len(self._followers)

    @contextlib.contextmanager
    def followed(self, told: Callable[[], object]) -> Iterator[None]:
        """Call ``told`` after each line during the block, in the thread that logs; it must not log."""
        self._followers[told] = None
        try:
            yield
        finally:
            del self._followers[told]
