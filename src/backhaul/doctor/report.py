"""The diagnosis as a text for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from backhaul.system.log import escape

from .finding import Finding, Verdict
from .wording import count

SIGNS: Final = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAULT: "✗", Verdict.SKIPPED: "-"}
PLAIN_SIGNS: Final = {Verdict.OK: "ok", Verdict.WARNING: "! ", Verdict.FAULT: "X ", Verdict.SKIPPED: "- "}
"""For terminals that can't show the others."""


def render(findings: Sequence[Finding], signs: dict[Verdict, str]) -> str:
    """Return a line for each finding, one for each remedy, and a summary. Text from outside is escaped."""
    return "\n".join(escape(line) for line in _lines(findings, signs))


def _lines(findings: Sequence[Finding], signs: dict[Verdict, str]) -> Iterator[str]:
    width = max((len(finding.subject) for finding in findings), default=0)
    before = ""
    for finding in findings:
        subject = "" if finding.subject == before else finding.subject
        before = finding.subject
        yield f"{signs[finding.verdict]} {subject.ljust(width)}  {finding.text}"
        if finding.remedy:
            yield f"{' ' * len(signs[finding.verdict])} {' ' * width}  > {finding.remedy}"
    yield ""
    yield _summary(findings)


def _summary(findings: Sequence[Finding]) -> str:
    faults, warnings = (
        sum(finding.verdict is verdict for finding in findings) for verdict in (Verdict.FAULT, Verdict.WARNING)
    )
    return f"{count(faults, 'fault')}, {count(warnings, 'warning')}"
