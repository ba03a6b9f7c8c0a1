"""The check of the limit of open descriptors."""

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .circumstances import Circumstances
from .finding import Finding, fault, ok, warning
from .processes import running

SUBJECT: Final = "descriptors"
_LOW: Final = 4096  # descriptors: two for each of 2000 users
_FULL: Final = 0.8  # part of the limit
_REMEDY: Final = "set LimitNOFILE=1048576 in its unit, or `ulimit -n 1048576` before the start"


def examine(around: Circumstances) -> Iterator[Finding]:
    """Yield a finding about the process that runs the file, or about this one, which has the limits of the shell."""
    pids = running(around.file, around.proc)
    for pid in pids:
        try:
            limit = _limit(around.proc / str(pid))
            used = len(os.listdir(around.proc / str(pid) / "fd"))  # noqa: PTH208 - only their number
        except (OSError, ValueError, IndexError):  # it belongs to another user
            continue
        yield judge(limit, used)
        return
    yield judge(_own_limit(), 0)


def judge(limit: int, used: int) -> Finding:
    """Return the finding about a limit, of which so many are used."""
    users = f"{limit} descriptors, for about {limit // 2} users at a time"
    if limit == sys.maxsize:
        return ok(SUBJECT, "no limit")
    if used > limit * _FULL:
        return fault(SUBJECT, f"{used} of {limit} descriptors are in use", _REMEDY)
    return warning(SUBJECT, users, _REMEDY) if limit < _LOW else ok(SUBJECT, users)


def _own_limit() -> int:
    """Return the limit that the program would have: it raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _limit(process: Path) -> int:
    """Return the soft limit of a process; raise ValueError or IndexError if its file is of another form."""
    for line in (process / "limits").read_text().splitlines():
        if line.startswith("Max open files"):
            word = line.removeprefix("Max open files").split()[0]
            return sys.maxsize if word == "unlimited" else int(word)
    raise ValueError("no such limit")
