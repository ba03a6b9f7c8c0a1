"""A running process as the kernel reports it: memory, limits and control group."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from backhaul.errors import BackhaulError

CGROUPS: Final = Path("/sys/fs/cgroup")
_FIELDS: Final = (
    *("Name", "State", "Uid", "Threads", "VmPeak", "VmSize", "VmHWM", "VmRSS", "VmSwap", "CapEff", "NoNewPrivs"),
    *("Seccomp", "Cpus_allowed_list", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"),
)
_GROUP: Final = ("memory.current", "memory.max", "memory.high", "memory.events", "pids.current", "pids.max", "cpu.max")


def describe(pids: Sequence[int], proc: Path, cgroups: Path = CGROUPS) -> str:
    """Return a section for each process; raise BackhaulError if there is none."""
    if not pids:
        raise BackhaulError("no process that this user may see runs this file")
    return "\n".join("".join(f"{line}\n" for line in _lines(pid, proc / str(pid), cgroups)) for pid in pids)


def _lines(pid: int, process: Path, cgroups: Path) -> Iterator[str]:
    yield f"process {pid}"
    status = (line.partition(":")[::2] for line in _read(process / "status").splitlines())
    yield from (f"{name}: {' '.join(value.split())}" for name, value in status if name in _FIELDS)
    yield f"descriptors: {_descriptors(process / 'fd')}"
    yield f"oom_score_adj: {_read(process / 'oom_score_adj').strip()}"
    yield from _read(process / "limits").splitlines()
    yield from _group(_read(process / "cgroup"), cgroups)


def _group(groups: str, cgroups: Path) -> Iterator[str]:
    """Yield the control groups, and the figures of the one of version 2."""
    for line in groups.splitlines():
        yield f"control group: {line}"
        _, controllers, name = line.split(":", 2)
        folder = cgroups / name.lstrip("/")
        values = ((figure, " ".join(_read(folder / figure).split())) for figure in _GROUP if not controllers)
        yield from (f"{figure}: {value}" for figure, value in values if value)


def _descriptors(folder: Path) -> str:
    try:
        return str(sum(1 for _ in folder.iterdir()))
    except OSError:
        return "another user's"


def _read(path: Path) -> str:
    """Return the content of a file of the kernel; empty if there is none, or the process has ended."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
