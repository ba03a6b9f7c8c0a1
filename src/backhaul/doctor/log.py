"""The check of what the running program has complained of lately."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from .circumstances import Circumstances
from .finding import Finding, ok, warning
from .wording import count, span

SUBJECT: Final = "log"
_LATELY: Final = 3600.0  # seconds
_START: Final = 3.0  # seconds, in which the program warns of its configuration, as this command does
_BAD: Final = ("warning", "error", "critical")
_REMEDY: Final = "`backhaul status` shows the last lines, and docs/troubleshooting.md explains them"


class _Complaint(NamedTuple):
    at: float
    text: str


def examine(around: Circumstances, side: str) -> Iterator[Finding]:
    """Yield a finding about the log of each program that runs this file."""
    for program in around.programs:
        complaints = [*_lately(program, around.now())]
        yield _judged(complaints, around.now(), side) if complaints else ok(SUBJECT, "no warning in the last hour")


def _lately(program: Mapping[str, Any], now: float) -> Iterator[_Complaint]:
    earliest = max(now - _LATELY, program.get("started", 0.0) + _START)
    for event in program.get("events", ()):
        if event["level"] in _BAD and event["time"] >= earliest:
            yield _Complaint(event["time"], event["text"])


def _judged(complaints: list[_Complaint], now: float, side: str) -> Finding:
    last = complaints[-1]
    text = f"{count(len(complaints), 'warning')} in the last hour, the last one {span(now - last.at)} ago: {last.text}"
    if side == "server":  # strangers cause warnings there
        return ok(SUBJECT, text)
    return warning(SUBJECT, text, _REMEDY)
