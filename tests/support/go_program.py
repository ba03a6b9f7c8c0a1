"""The programs of ``tests/go``: other implementations, for comparison."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parents[1] / "go"
_BINARIES = Path(__file__).parents[2] / "build" / "go"


def build(name: str) -> Path:
    """Build a program of ``tests/go``, unless another worker did; skip the test where Go is not installed."""
    if shutil.which("go") is None:
        pytest.skip("the Go toolchain is not installed")
    _BINARIES.mkdir(parents=True, exist_ok=True)
    binary = _BINARIES / name
    command = ["go", "build", "-o", str(binary), "."]
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"}
    with (_BINARIES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(command, cwd=_SOURCES / name, env=environment, check=True)
    return binary
