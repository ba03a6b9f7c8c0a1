"""The last lines of the log, kept for the page and the status."""

import logging
from collections import deque
from typing import Final

from backhaul.system.log import escape

from .status import Event

KEPT_EVENTS: Final = 100
"""Enough to show a sequence of events, in some 20 KB."""

MAX_EVENT_TEXT: Final = 500
"""Characters. Log lines are shorter; a longer one quotes a peer."""


class EventLog(logging.Handler):
    """Keeps the last lines from level info up; attach it to the logger "backhaul" and detach it at the end."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record as text: its arguments may hold on to sockets or change later."""
        text = escape(record.getMessage())[:MAX_EVENT_TEXT]
        self._events.append(Event(record.created, record.levelname.lower(), text))

    def events(self) -> tuple[Event, ...]:
        """Return the kept lines, the newest last."""
        return tuple(self._events)
