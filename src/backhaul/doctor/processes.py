"""The processes that run a configuration file, of this program or of v0.7.2, as far as /proc shows them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_OPTIONS: Final = frozenset({"-c", "--config"})
_NAME: Final = "backhaul"


def running(file: str, proc: Path) -> list[int]:
    """Return the processes that run ``file``, in the order of their numbers.

    A parent that only waits for one does not count: sudo, or the first process of the program with Python inside.
    """
    numbers = sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()) if proc.is_dir() else []
    found = [number for number in numbers if _runs(proc / str(number), file)]
    parents = {_parent(proc / str(number)) for number in found}
    return [number for number in found if number not in parents]


def _runs(process: Path, file: str) -> bool:
    with suppress(OSError):  # it has ended, or belongs to another user
        words = (process / "cmdline").read_bytes().split(b"\0")[:-1]
        name = _file_of([os.fsdecode(word) for word in words])
        return bool(name) and (process / "cwd" / name).samefile(file)
    return False


def _parent(process: Path) -> int:
    with suppress(OSError):
        return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    return 0


def _file_of(words: Sequence[str]) -> str:
    """Return the file that a process runs; empty if it does something else, such as ``backhaul status -c FILE``."""
    for program, option, value in zip(words, words[1:], words[2:], strict=False):
        if _NAME in Path(program).name and option in _OPTIONS:
            return value
    return ""
