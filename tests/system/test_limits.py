import os
import subprocess
import sys
from pathlib import Path

import pytest

SET_UP = """
import os, resource
from backhaul.system.limits import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
"""
DROP_PRIVILEGES = "\nif os.geteuid() == 0: os.setuid(65534)\n"
REPORT = "\nprint(result, *resource.getrlimit(resource.RLIMIT_NOFILE))"

CAP_SYS_RESOURCE = 24


def may_raise_hard_limit() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return bool(effective >> CAP_SYS_RESOURCE & 1)


def run(script: str) -> list[int]:
    """Run ``script`` in a process with limits of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SET_UP + script + REPORT]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return [int(word) for word in done.stdout.split()]


def test_the_soft_limit_rises_to_the_hard_one() -> None:
    assert run("result = raise_descriptor_limit()") == [128, 128, 128]


def test_a_limit_at_its_maximum_stays() -> None:
    assert run("raise_descriptor_limit(); result = raise_descriptor_limit(100)") == [128, 128, 128]


def test_without_privileges_the_hard_limit_stays() -> None:
    assert run(DROP_PRIVILEGES + "result = raise_descriptor_limit(256)") == [128, 128, 128]


@pytest.mark.skipif(not may_raise_hard_limit(), reason="needs CAP_SYS_RESOURCE")
def test_with_privileges_the_hard_limit_rises() -> None:
    assert run("result = raise_descriptor_limit(256)") == [256, 256, 256]
