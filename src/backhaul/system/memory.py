"""The memory that this process may use."""

import os
import resource
import sys
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
LEAST_BACKLOG: Final = 8 << 20
"""Bytes: enough for a dozen slow peers."""
_PROGRAM: Final = 32 << 20  # bytes that it takes itself
_PART: Final = 3  # of the rest; sessions take as much again for bytes that are not acknowledged


def backlog_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the bytes that may wait for slow peers: a quarter of the memory of this process, or less below 128 MiB."""
    memory = memory_limit(proc, cgroups)
    return max(LEAST_BACKLOG, min(memory // 4, (memory - _PROGRAM) // _PART))


def memory_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the bytes that this process may use.

    This is the least of the rest of ``ulimit -v``, the limits of its control groups, and the machine's memory.
    """
    return max(0, min(_address_space(proc), _control_groups(proc, cgroups), _machine()))


def _address_space(proc: Path) -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        used = int((proc / "self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        used = 0
    return soft - used


def _control_groups(proc: Path, cgroups: Path) -> int:
    """Return the smallest limit of the process's groups and of those above them, in both versions of cgroups(7)."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return sys.maxsize
    limits = [sys.maxsize]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            limits += _limits(cgroups, group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(cgroups / "memory", group, "memory.limit_in_bytes")
    return min(limits)


def _limits(mount: Path, group: str, name: str) -> list[int]:
    """Return the limits of a group and its parents; in a container the mount may show its own group as the root."""
    relative = Path(group.lstrip("/"))
    return [_number(mount / folder / name) for folder in (relative, *relative.parents)]


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such group here, or "max"
        return sys.maxsize


def _machine() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return sys.maxsize
