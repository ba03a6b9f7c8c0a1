"""What the running program has complained of lately."""

from typing import Any

import pytest

from backhaul.doctor import log
from backhaul.doctor.circumstances import Circumstances
from backhaul.doctor.finding import Finding, Verdict

NOW = 10_000.0
STARTED = 8_000.0
HOUR = 3600.0


def event(at: float, text: str = "it hurts", level: str = "warning") -> dict[str, Any]:
    return {"id": 1, "time": at, "level": level, "text": text}


def told(*events: dict[str, Any], side: str = "client") -> Finding:
    program = {"started": STARTED, "events": list(events)}
    (finding,) = log.examine(Circumstances(file="c.toml", programs=(program,), now=lambda: NOW), side)
    return finding


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
def test_the_last_warning_is_named(level: str) -> None:
    finding = told(event(NOW - 1200), event(NOW - 600, "it burns", level), event(NOW - 1, "all is well", "info"))
    assert finding.verdict is Verdict.WARNING
    assert finding.text == "2 warnings in the last hour, the last one 10 min ago: it burns"
    assert "`backhaul status`" in finding.remedy


def test_strangers_cause_warnings_on_a_server() -> None:
    finding = told(event(NOW - 600), side="server")
    assert finding.verdict is Verdict.OK
    assert finding.text == "1 warning in the last hour, the last one 10 min ago: it hurts"


def test_older_ones_are_past() -> None:
    finding = told(event(NOW - HOUR - 1))
    assert (finding.verdict, finding.text) == (Verdict.OK, "no warning in the last hour")


def test_those_of_the_configuration_are_findings_of_their_own() -> None:
    assert told(event(STARTED + 2)).verdict is Verdict.OK
    assert told(event(STARTED + 3)).verdict is Verdict.WARNING


def test_without_a_program_there_is_none() -> None:
    assert not [*log.examine(Circumstances(file="c.toml"), "client")]
