"""The abilities of the CPU."""

import functools
from pathlib import Path
from typing import Final

_FILE: Final = Path("/proc/cpuinfo")
_LISTS: Final = ("flags", "features")  # x86, ARM


@functools.cache
def has_aes(file: Path = _FILE) -> bool:
    """Return whether the CPU has instructions for AES; False if the system does not report it."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.lower().startswith(_LISTS) and "aes" in line.split() for line in lines)
