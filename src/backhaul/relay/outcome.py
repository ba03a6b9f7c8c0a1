"""The end of a user's connection, as it is counted and logged."""

import itertools
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple


class Ending(Enum):
    """The side or event that ended a connection; the value is part of a sentence in the log."""

    USER = "closed by the user"
    TARGET = "closed by the target"
    RESET_BY_USER = "reset by the user"
    RESET_BY_TARGET = "reset by the target"
    SILENT = "reset, because one direction had ended and the other was silent"
    LOST = "the tunnel connection was lost"
    SHORT_OF_MEMORY = "reset for lack of memory"
    FAILED = "internal error"
    SHUTDOWN = "this program was stopped"
    NOT_CARRIED = "no tunnel connection was free"
    CLOSED = "closed by the administrator"
    LIMIT = "closed by a limit"

    __hash__ = object.__hash__  # that of Enum is Python code, and each user causes several look-ups


ORDERLY: Final = frozenset({Ending.USER, Ending.TARGET})
"""The endings after which both ends are closed cleanly, without a reset."""


class Outcome(NamedTuple):
    """The bytes that a user has moved, and the end of the connection."""

    received: int  # bytes from the user
    sent: int  # bytes to the user
    ending: Ending


class Progress(NamedTuple):
    """A user in flight at one moment."""

    received: int  # bytes from the user
    sent: int  # bytes to the user
    phase: str
    stream: str  # the stream of a session that carries the user; empty on a connection of the user's own


Done = Callable[[Outcome], None]
"""A function that is called once, when a user's connection has ended."""

next_number: Final = itertools.count(1).__next__
"""Return a number for a user or flow, which no other one of this process has."""

NOT_CARRIED = Outcome(0, 0, Ending.NOT_CARRIED)
FAILED = Outcome(0, 0, Ending.FAILED)
LOST = Outcome(0, 0, Ending.LOST)
CLOSED = Outcome(0, 0, Ending.CLOSED)
SHORT_OF_MEMORY = Outcome(0, 0, Ending.SHORT_OF_MEMORY)
FLOW_OVER = Outcome(0, 0, Ending.SILENT)  # the counters of the port have its datagrams
