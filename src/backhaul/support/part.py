"""The parts of a support archive. Each is made on its own, and bounded: one that fails leaves the others alone."""

from collections.abc import Callable
from typing import Final, NamedTuple

from backhaul.errors import MEMORY_ADVICE, BackhaulError, out_of_memory, reason

MOST: Final = 2 << 20
"""Bytes of a part. A status with 5000 ports has as many."""


class Part(NamedTuple):
    """A file in the archive."""

    name: str
    meaning: str
    make: Callable[[], str]
    """Returns its text; raises OSError or BackhaulError with the reason why there is none."""


class Made(NamedTuple):
    """A part with its content."""

    part: Part
    content: bytes
    missing: str = ""
    """The reason why there is no content."""
    cut: int = 0
    """The number of bytes that were left out."""


def make(part: Part, most: int = MOST) -> Made:
    """Make a part of at most ``most`` bytes."""
    try:
        content = part.make().encode(errors="backslashreplace")
    except (OSError, BackhaulError) as error:
        return Made(part, b"", _located(error))
    except Exception as error:  # noqa: BLE001 - a defect of one part must not hide the others
        return Made(part, b"", MEMORY_ADVICE if out_of_memory(error) else _defect(error))
    return Made(part, content[:most], cut=max(0, len(content) - most))


def _located(error: Exception) -> str:
    """Return the text of an error, with the file that it is about."""
    file = error.filename if isinstance(error, OSError) and error.filename else ""
    return f"{file}: {reason(error)}" if file else reason(error)


def _defect(error: Exception) -> str:
    """Return the kind of an error; its text might quote what nobody has looked at."""
    return f"{type(error).__name__} while it was made: report this as a defect of the program"
