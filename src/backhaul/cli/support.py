"""The support archive of ``backhaul doctor --save``: the parts that describe one end, without its secrets."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from backhaul import __version__
from backhaul.api.messages import Configuration
from backhaul.api.operations import CONFIGURATION, HISTORY, TRAFFIC, Operation
from backhaul.config import ConfigError
from backhaul.config.hiding import hide
from backhaul.doctor.processes import running
from backhaul.doctor.report import SIGNS
from backhaul.errors import BackhaulError
from backhaul.monitor.status import Event
from backhaul.support import log, machine, process, units
from backhaul.support.archive import INDEX, NewFile, folder_of, index, pack
from backhaul.support.part import Part, make
from backhaul.support.units import Unit
from backhaul.system.calls import STATUS, Call
from backhaul.system.log import escape
from backhaul.system.programs import Document, Programs
from backhaul.system.template_unit import instance_of

from .check import key_line, render
from .programs import ask_programs, call
from .status import describe
from .tables import number, size

if TYPE_CHECKING:
    from .doctor import Report

__all__ = ["NewFile", "save"]

T = TypeVar("T")

_PROC: Final = Path("/proc")
_ANY_UNIT: Final = Unit("backhaul*")
_MISTAKEN: Final = "the file has mistakes, which report.txt lists"


def save(new: NewFile, file: str, outcome: "Report | ConfigError") -> str:
    """Fill a new file with what is known about an end; return a line about it. Raises BackhaulError if that fails.

    ``outcome`` is the doctor's report, or the mistakes in the configuration file.
    """
    now = time.time()
    made = [make(part) for part in _Parts(file, outcome).parts()]
    head = index(str(Path(file).absolute()), __version__, now, made)
    present = [(one.part.name, one.content) for one in made if not one.missing]
    content = pack(folder_of(new.path), [(INDEX, head.encode(errors="backslashreplace")), *present], now)
    new.fill(content)
    missing = len(made) - len(present)
    absent = f", {number(missing, 'part')} missing" if missing else ""
    return (
        f"{new.path}: saved, {size(len(content))}{absent}; {INDEX} in it lists the parts. Read it before you pass it on"
    )


class _Parts:
    """The parts about one end."""

    def __init__(self, file: str, outcome: "Report | ConfigError") -> None:
        self._file = file
        self._outcome = outcome
        self._pids = running(file, _PROC)
        self._statuses = ask_programs(file, STATUS)

    def parts(self) -> tuple[Part, ...]:
        """Return the parts in the order of the index."""
        return (
            Part("report.txt", "the lines of `backhaul doctor`", self._report),
            Part("report.json", "the same for programs", self._report_for_programs),
            Part("configuration.txt", "the configuration in the file, as `backhaul check` shows it", self._configured),
            Part("running.txt", "the keys in effect in the running program", self._in_effect),
            Part("status.txt", "its state, as `backhaul status` shows it", self._status),
            Part("status.json", "the same for programs, with all numbers of the metrics", self._status_for_programs),
            Part("events.txt", "the last lines of its log that it keeps, in UTC", self._events),
            Part("traffic.json", "throughput of the last minutes, and load of the machine", self._traffic),
            Part("history.json", "users and bytes of the last day, minute by minute", self._history),
            Part("log.txt", "the last lines of its log file or of the journal", self._log),
            Part("process.txt", "its memory, limits and control group", self._process),
            Part("unit.txt", "state and limits of its unit, from systemd", self._unit),
            Part("machine.txt", "versions, kernel settings and interfaces of this machine", machine.describe),
        )

    def _report(self) -> str:
        if isinstance(self._outcome, ConfigError):
            return "".join(f"{escape(problem)}\n" for problem in self._outcome.problems)
        return f"{self._outcome.text(SIGNS)}\n"

    def _report_for_programs(self) -> str:
        return f"{self._sound().json()}\n"

    def _configured(self) -> str:
        return render(self._sound().config)

    def _sound(self) -> "Report":
        if isinstance(self._outcome, ConfigError):
            raise BackhaulError(_MISTAKEN)
        return self._outcome

    def _in_effect(self) -> str:
        found = [_converted(document, Configuration) for document in self._ask(call(CONFIGURATION))]
        return "".join(f"{key_line(setting)}\n" for one in found for setting in one.settings)

    def _status(self) -> str:
        return "\n\n".join(map(describe, _answers(self._statuses))) + "\n"

    def _status_for_programs(self) -> str:
        return _json(_answers(self._statuses))

    def _events(self) -> str:
        documents = _answers(self._statuses)
        events = [event for document in documents for event in _converted(document.get("events", ()), list[Event])]
        return "".join(f"{_moment(event.time)} {event.level}: {event.text}\n" for event in events)

    def _traffic(self) -> str:
        return self._answer(TRAFFIC)

    def _history(self) -> str:
        return self._answer(HISTORY)

    def _answer(self, operation: Operation) -> str:
        return _json(self._ask(call(operation)))

    def _ask(self, request: Call) -> list[Document]:
        """Return the answers of the programs that run the file; raise BackhaulError without one."""
        _answers(self._statuses)  # one that hangs is not asked again
        return _answers(ask_programs(self._file, request))

    def _log(self) -> str:
        config = None if isinstance(self._outcome, ConfigError) else self._outcome.config
        return hide(log.last_lines(self._pids, self._likely_unit(), _PROC), config)

    def _process(self) -> str:
        return process.describe(self._pids, _PROC)

    def _unit(self) -> str:
        found = (units.unit_of(pid, _PROC) for pid in self._pids)
        return units.properties(next(filter(None, found), self._likely_unit()))

    def _likely_unit(self) -> Unit:
        """Return the unit that runs the file if no process does: that of the package, or any of the program's name."""
        name = instance_of(Path(self._file))
        return Unit(f"{name}.service") if name else _ANY_UNIT


def _answers(found: Programs) -> list[Document]:
    if not found.documents:
        raise BackhaulError("; ".join(found.problems))
    return found.documents


def _converted(answer: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError:
        raise BackhaulError("another version of the program, whose answer can't be read") from None


def _json(documents: list[Document]) -> str:
    return json.dumps(documents, indent=1) + "\n"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
