"""Facts from the kernel about processes and the machine: CPU seconds, memory, stolen time, versions."""

import contextlib
import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from bench.processes import find_tool

PROC = Path("/proc")


def _parent(pid: int) -> int:
    # proc(5): the name in parentheses may hold spaces; field 4 is the parent.
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def _parents() -> dict[int, int]:
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = _parent(int(entry.name))
    return parents


def _family(pid: int, parents: dict[int, int]) -> list[int]:
    children = [child for child, parent in parents.items() if parent == pid]
    return [pid, *(member for child in children for member in _family(child, parents))]


def cpu_seconds(pids: list[int]) -> float:
    """Return the user and system time of these processes and all their living descendants, to the microsecond."""
    parents = _parents()
    members = {member for pid in pids for member in _family(pid, parents)}
    return sum(_cpu_clock(member) for member in members)


def _cpu_clock(pid: int) -> float:
    # clock_getcpuclockid(3), which Python has for threads only. The steps of 10 ms in /proc are too coarse
    # for a short round. The kernel keeps the process's number inverted above three bits, 2 being its scheduler clock.
    with contextlib.suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)
    return 0.0


def memory_bytes(pid: int) -> int:
    """Return the proportional set size of the process and its descendants."""
    return sum(_pss(member) for member in _family(pid, _parents()))


def _pss(pid: int) -> int:
    rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    match = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


class CpuTimes(NamedTuple):
    """A reading of the machine's CPU clocks, in ticks over all processors."""

    total: int
    stolen: int

    @classmethod
    def now(cls) -> "CpuTimes":
        """Read /proc/stat."""
        # proc(5): user nice system idle iowait irq softirq steal; guest times are contained in user.
        ticks = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(sum(ticks), ticks[7])

    def stolen_share_to(self, later: "CpuTimes") -> float:
        """Return the share (0..1) of the CPU time between two readings that the hypervisor gave to others."""
        elapsed = later.total - self.total
        return (later.stolen - self.stolen) / elapsed if elapsed else 0.0


def raise_file_limit(wanted: int = 0) -> int:
    """Raise the limit of open files, also for child processes, and return it.

    The soft limit becomes the hard one. That is raised to ``wanted``, if it is lower and the system permits it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        with contextlib.suppress(OSError, ValueError):  # the module turns EPERM into ValueError
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def tracer(pid: int) -> int:
    """Return the process that traces another one; 0 if none does."""
    match = re.search(r"^TracerPid:\s+(\d+)$", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def local_ports() -> int:
    """Return the number of ports that the kernel gives to outgoing connections from one address."""
    first, last = map(int, (PROC / "sys/net/ipv4/ip_local_port_range").read_text().split())
    return last - first + 1


def listening_ports() -> set[int]:
    """Return the TCP ports on which any process listens."""
    # proc_net_tcp: number, local address, remote address and state, of which 0A is LISTEN
    lines = (line for table in ("tcp", "tcp6") for line in (PROC / "net" / table).read_text().splitlines()[1:])
    rows = (line.split()[1:4] for line in lines)
    return {int(local.rpartition(":")[2], 16) for local, _, state in rows if state == "0A"}


def open_files(pid: int) -> int:
    """Return the number of descriptors that a process has open."""
    return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())


def _version(tool: str, flag: str) -> str:
    done = subprocess.run([find_tool(tool), flag], capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    found = re.search(r"\d+\.[\w.+~-]*", lines[0]) if lines else None
    return found[0] if found else "unknown"


def _revision() -> str:
    argv = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return "unknown"


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", (PROC / "cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _congestion_control() -> str:
    with contextlib.suppress(OSError):
        return (PROC / "sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return "unknown"


def describe() -> dict[str, str]:
    """Return the versions of machine and software that a reader needs to judge the numbers."""
    return {
        "revision": _revision(),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "kernel": f"{platform.release()}, TCP congestion control {_congestion_control()}",
        # A build with profile-guided optimisation, as distributions make it, takes 15 to 20 % less CPU than others.
        "python": f"{platform.python_version()}, built {platform.python_build()[1]} with {platform.python_compiler()}",
        "uvloop": importlib.metadata.version("uvloop"),
        "haproxy": _version("haproxy", "-v"),
        "iperf3": _version("iperf3", "--version"),
        "nginx": _version("nginx", "-v"),
        "ab": _version("ab", "-V"),
        "openssl": _version("openssl", "version"),
    }
