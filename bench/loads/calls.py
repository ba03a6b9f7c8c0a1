"""The program with a counter of its function calls: ``python -m bench.loads.calls -c FILE``.

START begins a count, STOP ends it and writes it as JSON beside the configuration file: function -> calls.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

from backhaul.cli.main import run
from bench.report.path import BUILT_IN

START, STOP = signal.SIGRTMIN, signal.SIGRTMIN + 1  # not among those that the program uses or ignores


def results_of(directory: Path, pid: int) -> Path:
    """Return the file with the counts of a process, whose configuration file is in the directory; empty until STOP."""
    return directory / f"{pid}.calls"


class Calls:
    """The calls since START. A coroutine or generator counts whenever it is resumed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._functions: Counter[CodeType] = Counter()
        self._modules: dict[CodeType, str] = {}
        self._built_in = 0

    def start(self, *_: object) -> None:
        """Begin to count."""
        self._functions.clear()
        self._built_in = 0
        self._file.write_text("")
        sys.setprofile(self._note)

    def stop(self, *_: object) -> None:
        """Write the counts; the file is complete as soon as it is not empty."""
        sys.setprofile(None)
        named: Counter[str] = Counter({BUILT_IN: self._built_in})
        for code, number in self._functions.items():
            named[f"{self._modules[code]}:{code.co_qualname}"] += number
        complete = self._file.with_suffix(".new")
        complete.write_text(json.dumps(named))
        complete.rename(self._file)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            self._functions[frame.f_code] += 1
            self._modules.setdefault(frame.f_code, frame.f_globals.get("__name__", "").removeprefix("backhaul."))
        elif event == "c_call":
            self._built_in += 1


if __name__ == "__main__":
    calls = Calls(results_of(Path(sys.argv[-1]).parent, os.getpid()))
    signal.signal(START, calls.start)
    signal.signal(STOP, calls.stop)
    run()
