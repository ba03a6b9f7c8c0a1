"""The processes that run a configuration file, of this program or of v0.7.2, as far as /proc shows them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from backhaul.paths import is_same

_OPTIONS: Final = frozenset({"-c", "--config"})
_JOINED: Final = ("--config=", "-c")
_NAME: Final = "backhaul"
_SUFFIX: Final = ".toml"


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
        names = _files_of([part for word in words for part in _parted(os.fsdecode(word))])
        return any(_stands_for(process / "cwd" / name, Path(file)) for name in names)
    return False


def _stands_for(name: Path, file: Path) -> bool:
    """Return whether a name is that of the file, or of its directory, which stands for its *.toml."""
    return is_same(name, file) or (file.suffix == _SUFFIX and is_same(name, file.parent))


def _parent(process: Path) -> int:
    with suppress(OSError):
        return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    return 0


def _parted(word: str) -> tuple[str, ...]:
    """Split a word that is an option with its value, such as ``--config=FILE``."""
    start = next((start for start in _JOINED if word.startswith(start) and word != start), "")
    return (start.removesuffix("="), word.removeprefix(start)) if start else (word,)


def _files_of(words: Sequence[str]) -> list[str]:
    """Return the files that a process runs; none if it does something else, such as ``backhaul status -c FILE``."""
    for number, word in enumerate(words, 1):
        options, values = words[number::2], words[number + 1 :: 2]
        if _NAME in Path(word).name and options and len(options) == len(values) and _OPTIONS.issuperset(options):
            return list(values)
    return []
