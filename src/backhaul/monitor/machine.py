"""Load of the machine the program runs on."""

from dataclasses import dataclass
from pathlib import Path

import psutil

SOCKETS = "/proc/net/sockstat"
"""Where the kernel keeps count of sockets; its first line is "sockets: used 98"."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Figures of the whole machine, sizes in bytes."""

    cpu: float
    """Percent of all processors, since the measurement before; 0 at the first one."""
    memory_used: int
    memory_total: int
    swap_used: int
    swap_total: int
    disk_used: int
    """Of the file system "/", as in v0.7.2."""
    disk_total: int
    received: int
    """Bytes through all network interfaces since the machine started; the loopback is one of them."""
    sent: int
    sockets: int
    """Open sockets of all kinds; 0 where a container hides the count."""


def measure() -> Machine:
    """Look at the machine; reads /proc and takes about a millisecond."""
    memory, swap, disk = psutil.virtual_memory(), psutil.swap_memory(), psutil.disk_usage("/")
    network = psutil.net_io_counters()  # None on a machine without interfaces
    return Machine(
        cpu=psutil.cpu_percent(),
        memory_used=memory.used,
        memory_total=memory.total,
        swap_used=swap.used,
        swap_total=swap.total,
        disk_used=disk.used,
        disk_total=disk.total,
        received=network.bytes_recv if network else 0,
        sent=network.bytes_sent if network else 0,
        sockets=_sockets(),
    )


def _sockets() -> int:
    # Listing every connection, as v0.7.2 does, takes seconds on a busy machine; the kernel keeps count.
    try:
        head = Path(SOCKETS).read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return 0
    return int(head.rpartition(" ")[2])
