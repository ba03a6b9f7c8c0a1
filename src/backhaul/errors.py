"""The root of all errors that this program raises, and the texts of system errors.

Code that Python's own protocols ask for a ValueError or an OSError, such as a parser of one value, raises that.
"""

import errno
from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The errors of msgspec for invalid bytes: broken text and deep nesting have errors of their own."""

_NO_THREAD: Final = "can't start new thread"
_NO_MEMORY: Final = {RuntimeError: _NO_THREAD, OSError: _NO_THREAD, ImportError: "failed to map segment"}


class BackhaulError(Exception):
    """An error that the program expects and catches; its text for an administrator is one line.

    Any other exception that escapes is a defect of the program.
    """


class TransportError(BackhaulError):
    """The other end of the tunnel refused, or sent something that is not the protocol."""

    retry_after: float = 0.0
    """Seconds for which it asks to wait before the next attempt."""
    refused: bool = False
    """True if the other end has answered, and refuses the connection."""


MEMORY_ADVICE: Final = (
    "an end takes 30 MB, 80 MB of addresses and a few threads; raise its limits (MemoryMax=, LimitAS=, ulimit -v; "
    "TasksMax=, LimitNPROC=, ulimit -u)"
)
"""The remedy for a lack of memory, or of threads: Python has one error for both."""


def out_of_memory(error: Exception) -> bool:
    """Return whether there was no memory for an object, a thread or a library."""
    return isinstance(error, MemoryError) or any(
        isinstance(error, kind) and text in str(error) for kind, text in _NO_MEMORY.items()
    )


def retry_after(error: Exception) -> float:
    """Return the seconds for which the other end asks to wait before the next attempt, 0 if it does not."""
    return error.retry_after if isinstance(error, TransportError) else 0.0


def was_refused(error: Exception) -> bool:
    """Return whether the other end has answered, and refuses the connection without asking for a pause."""
    return isinstance(error, TransportError) and error.refused and not error.retry_after


def reason(error: Exception) -> str:
    """Return the text of an error, for use within a sentence; texts of the system begin with a capital letter."""
    if not isinstance(error, OSError):
        return str(error)
    text = error.strerror or str(error)
    hint = "; IPv6 is off on this machine, use an IPv4 address" if error.errno == errno.EAFNOSUPPORT else ""
    return uncapitalized(text) + hint


def uncapitalized(text: str) -> str:
    """Return a text for use within a sentence; one that begins with an abbreviation, such as IPv6, stays."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
