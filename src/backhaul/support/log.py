"""The last lines of the log: from the file to which the program writes, or from the journal."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from backhaul.errors import BackhaulError

from .commands import output_of
from .units import Unit, unit_of

_LINES: Final = 2000
_BYTES: Final = 1 << 20
_ACCESS: Final = " backhaul-access["  # the identifier of access_log = "journal": a line for each user
JOURNALCTL: Final = "journalctl"


def last_lines(pids: Sequence[int], otherwise: Unit, proc: Path, journalctl: str = JOURNALCTL) -> str:
    """Return the last lines of the processes' log, or of the unit ``otherwise`` if there is no process.

    Raises OSError or BackhaulError with the reason why there are none.
    """
    for pid in pids:
        output = proc / str(pid) / "fd/1"
        if _is_file(output):
            return _tail(output)
        if unit := unit_of(pid, proc):
            return journal(unit, journalctl)
    if pids:
        raise BackhaulError(f"the log of process {pids[0]} goes to {_place(proc / str(pids[0]) / 'fd/1')}")
    return journal(otherwise, journalctl)


def journal(unit: Unit, journalctl: str = JOURNALCTL) -> str:
    """Return the last lines of a unit in the journal, the newest last."""
    newest_first = ("--quiet", "--no-pager", "--reverse", f"--lines={_LINES}", "--output=short-iso")
    lines = output_of([journalctl, *newest_first, *unit.choice]).splitlines()
    lines = [line for line in lines if _ACCESS not in line]
    if not lines:
        raise BackhaulError(f"the journal has no line of {unit.name} that this user may read; root may read all")
    return "".join(f"{line}\n" for line in reversed(lines))


def _is_file(output: Path) -> bool:
    try:
        return stat.S_ISREG(output.stat().st_mode)
    except OSError:  # it has ended, or belongs to another user
        return False


def _tail(output: Path) -> str:
    """Return the whole lines in the last bytes of a file, even of one that has been removed."""
    with open(os.open(output, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - a descriptor
        skipped = max(0, os.fstat(file.fileno()).st_size - _BYTES)
        file.seek(skipped)
        data = file.read(_BYTES)
    return (data.partition(b"\n")[2] if skipped else data).decode(errors="replace")


def _place(output: Path) -> str:
    """Return where an output leads, in words."""
    try:
        target = str(output.readlink())
    except OSError:
        return "a place that this user may not see; root may see it"
    if target.startswith("/"):
        return target
    return f"a {target.partition(':')[0]}; look where the program was started, with `docker logs` for instance"
