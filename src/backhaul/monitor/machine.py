"""Load of the machine on which the program runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import psutil

from .traffic import Machine, Network, Share

SOCKETS: Final = Path("/proc/net/sockstat")
"""The kernel's count of sockets; its first line is "sockets: used 98"."""

_Figure = TypeVar("_Figure")


def measure() -> Machine:
    """Measure the machine from /proc, in about a millisecond; never fail."""
    return Machine(
        cpu=_try(psutil.cpu_percent),
        memory=_try(_memory),
        swap=_try(_swap),
        disk=_try(_disk),
        network=_try(_network),
        sockets=_try(_sockets),
    )


def _try(figure: Callable[[], _Figure]) -> _Figure | None:
    """Return the figure, or None, because psutil fails in many ways if parts of /proc are missing."""
    try:
        return figure()
    except Exception:  # noqa: BLE001 - a missing figure must not end the program
        return None


def _memory() -> Share:
    memory = psutil.virtual_memory()
    return Share(memory.used, memory.total)


def _swap() -> Share:
    swap = psutil.swap_memory()
    return Share(swap.used, swap.total)


def _disk() -> Share:
    disk = psutil.disk_usage("/")
    return Share(disk.used, disk.total)


def _network() -> Network | None:
    counters = psutil.net_io_counters()
    return Network(counters.bytes_recv, counters.bytes_sent) if counters else None


def _sockets() -> int:
    # Listing every connection, as v0.7.2 does, takes seconds on a busy machine; the kernel keeps count.
    head = SOCKETS.read_text(encoding="ascii").partition("\n")[0]
    return int(head.rpartition(" ")[2])
