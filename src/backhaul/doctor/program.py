"""The checks of the running program: its tunnel, its version, and whether it is alone."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backhaul import __version__

from .circumstances import Circumstances
from .finding import Finding, fault, ok, skipped, warning
from .processes import running
from .wording import count, span

SUBJECT: Final = "program"
_OFTEN: Final = 3600.0  # seconds: a tunnel that is lost more than once in this time has a fault
_SURE: Final = 600.0  # seconds of running after which reconnects are meaningful
_HUNG: Final = "run this command again; if that stays so, restart the program, whose log may show why"
_REMEDIES: Final = {
    "server": "run `backhaul doctor` on the client; open the port of bind_addr in the firewalls of this machine and of "
    "its provider",
    "client": "the other lines show the reason; the log has more",
}


def examine(around: Circumstances, side: str) -> Iterator[Finding]:
    """Yield findings about the state that the running program reports."""
    pids = running(around.file, around.proc)
    yield from (fault(SUBJECT, problem, _HUNG) for problem in around.problems)
    if not around.programs and not around.problems:
        yield _absent(around, pids)
    for program in around.programs:
        yield _tunnel(program, around.now(), side)
        yield from _version(program)
        yield from _reconnects(program, around.now(), side)
    if len(pids) > 1 and not any(program.get("stopping") is True for program in around.programs):
        text = f"{len(pids)} processes run this file: {', '.join(map(str, pids))}"
        yield fault(SUBJECT, text, "stop all but one, for they take the tunnel from each other")


def _absent(around: Circumstances, pids: Sequence[int]) -> Finding:
    if pids and os.geteuid() == 0:
        text = f"process {pids[0]} runs this file, and its status socket is not on this machine"
        return skipped(SUBJECT, text, "if it runs in a container, run this command there; otherwise restart it")
    if pids:
        text = f"process {pids[0]} runs this file, but does not report its state to this user"
        return skipped(SUBJECT, text, "run this command as root, or as the user of that process")
    if around.foreign:
        text = f"not known whether a program runs this file: {around.foreign[0]} is owned by another user"
        return skipped(SUBJECT, text, "run this command as root, or as that user")
    seen = "" if os.geteuid() == 0 else " that this user may see"
    return skipped(SUBJECT, f"no program{seen} runs this file", f"`backhaul -c {around.file}` starts one")


def _tunnel(program: Mapping[str, Any], now: float, side: str) -> Finding:
    if program.get("connected") is True:
        return ok(SUBJECT, f"connected to {program.get('peer')}, up {_up(program, now)}")
    problem = str(program.get("problem") or "")
    other = "no client is connected" if side == "server" else "not connected to the server"
    return fault(SUBJECT, f"{other}{': ' if problem else ''}{problem}, up {_up(program, now)}", _REMEDIES[side])


def _up(program: Mapping[str, Any], now: float) -> str:
    return span(_age(program, now))


def _age(program: Mapping[str, Any], now: float) -> float:
    started = program.get("started")
    return max(0.0, now - started) if isinstance(started, int | float) else 0.0


def _version(program: Mapping[str, Any]) -> Iterator[Finding]:
    if program.get("version") != __version__:
        text = f"it runs version {program.get('version')}, and {__version__} is installed"
        yield warning(SUBJECT, text, "restart it to use the installed version")


def _reconnects(program: Mapping[str, Any], now: float, side: str) -> Iterator[Finding]:
    """Yield how often the tunnel was lost: a NAT that forgets connections shows itself in that."""
    lost, age = program.get("reconnects"), _age(program, now)
    if not isinstance(lost, int) or age < _SURE:
        text = "not running for long enough to tell whether idle connections survive"
        yield skipped("nat", text, "`backhaul doctor --nat` finds out in two minutes" if side == "client" else "")
    elif lost * _OFTEN > age:
        text = f"the tunnel was lost {count(lost, 'time')} in {span(age)}"
        remedy = (
            "a NAT may forget idle connections: `backhaul doctor --nat` on the client finds out; the log has reasons"
        )
        yield warning("nat", text, remedy)
    else:
        yield ok("nat", f"idle connections survive: the tunnel was lost {count(lost, 'time')} in {span(age)}")
