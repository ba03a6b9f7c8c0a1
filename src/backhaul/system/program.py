"""The command that starts this program again."""

import sys
from pathlib import Path
from typing import Final

PACKED: Final = bool(getattr(sys, "frozen", False))
"""True if Python is inside the program's own file: PyInstaller."""

FORKS: Final = PACKED and not Path(sys.prefix).is_relative_to(Path(sys.executable).parent)
"""True if the program runs in a child of the process that was started, from files that vanish with it."""


def command() -> tuple[str, ...]:
    """Return the command without arguments; -P keeps Python from importing modules of the working directory."""
    return (sys.executable,) if PACKED else (sys.executable, "-P", "-m", "backhaul")


def files() -> dict[str, Path]:
    """Return the files and directories that it runs from, by their role."""
    if PACKED:
        return {"the program": Path(sys.executable)}
    return {"the program": Path(sys.prefix), "its Python": Path(sys.base_prefix)}
