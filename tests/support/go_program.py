"""The programs of ``tests/go``: other implementations, for comparison."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCES = Path(__file__).parents[1] / "go"


def build(name: str, folder: Path) -> Path:
    """Build a program of ``tests/go`` into ``folder``; skip the test where Go is not installed."""
    if shutil.which("go") is None:
        pytest.skip("the Go toolchain is not installed")
    binary = folder / name
    command = ["go", "build", "-o", str(binary), "."]
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false"}
    subprocess.run(command, cwd=_SOURCES / name, env=environment, check=True)
    return binary
