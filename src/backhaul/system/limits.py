"""The limit of open descriptors: each user takes two, and some pipes."""

import logging
import resource
from typing import Final

TUNED_LIMIT: Final = 1_048_576  # v0.7.2's value, and the kernel's default for fs.nr_open, the largest allowed

_logger: Final = logging.getLogger(__name__)


def raise_descriptor_limit(wanted_hard: int = 0) -> int:
    """Raise the hard limit to ``wanted_hard`` if it is lower, and the soft limit to the hard one.

    Raising the hard limit requires CAP_SYS_RESOURCE; without it the limit stays, and a debug line says so. Returns the
    soft limit in force. Never lowers a limit, never raises an exception.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted_hard and _set(wanted_hard, wanted_hard):
        return wanted_hard
    if soft != hard and _set(hard, hard):
        return hard
    return soft


def _set(soft: int, hard: int) -> bool:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    except (OSError, ValueError) as error:  # the module turns EPERM and EINVAL into ValueError
        _logger.debug("open files: limit not raised to %d: %s", hard, error)
        return False
    return True
