"""The limit of bytes that wait for slow peers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backhaul.system.memory import LEAST_BACKLOG, backlog_limit

MIB = 1 << 20


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Return a /proc of a process in the group /a/b."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text("1:cpu,memory:/a/b\n0::/a/b\n")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("a/b/memory.max", f"{256 * MIB}\n", 64 * MIB),
        ("a/memory.max", f"{256 * MIB}\n", 64 * MIB),
        ("memory/a/b/memory.limit_in_bytes", f"{128 * MIB}\n", 32 * MIB),
        ("memory/memory.limit_in_bytes", f"{128 * MIB}\n", 32 * MIB),
        ("a/b/memory.max", f"{80 * MIB}\n", 16 * MIB),
        ("a/b/memory.max", f"{MIB}\n", LEAST_BACKLOG),
    ],
)
def test_a_quarter_of_the_control_groups_memory(proc: Path, file: str, text: str, expected: int) -> None:
    (proc / file).parent.mkdir(parents=True)
    (proc / file).write_text(text)
    assert backlog_limit(proc, proc) == expected


def test_otherwise_a_quarter_of_the_machines_memory(proc: Path) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    (proc / "a/b").mkdir(parents=True)
    (proc / "a/b/memory.max").write_text("max\n")
    assert backlog_limit(proc, proc) == machine
    assert backlog_limit(proc / "missing", proc) == machine


def test_a_quarter_of_the_remaining_address_space() -> None:
    script = """
import resource
from backhaul.system.memory import backlog_limit
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20), resource.RLIM_INFINITY))
print(backlog_limit())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=True)
    assert 24 * MIB < int(done.stdout) <= 32 * MIB
