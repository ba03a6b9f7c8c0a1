"""Priorities of lines for the journal of systemd, if it reads the program's output: sd-daemon(3)."""

import logging
import os
from typing import Final

# None is an emergency (0), which systemd shows on all terminals.
_CRITICAL: Final = 2
_DEBUG: Final = 7
_PRIORITIES: Final = {logging.CRITICAL: _CRITICAL, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


def is_journal(descriptor: int) -> bool:
    """Return whether the journal reads what is written to the descriptor: JOURNAL_STREAM, systemd.exec(5)."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def with_priority(text: str, level: int) -> str:
    """Return a text whose lines begin with the priority of the level, which the journal removes again."""
    priority = _CRITICAL if level > logging.CRITICAL else _PRIORITIES.get(level, _DEBUG)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
