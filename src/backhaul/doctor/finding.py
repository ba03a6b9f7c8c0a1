"""The results of checks."""

from enum import Enum

from msgspec import Struct


class Verdict(Enum):
    """The meaning of a finding."""

    OK = "ok"
    WARNING = "warning"
    """It works, but may fail later or in part."""
    FAULT = "fault"
    SKIPPED = "skipped"
    """Not checked; the text gives the reason."""


class Finding(Struct, frozen=True):
    """One line of a diagnosis."""

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""
    """The next step of the administrator; empty if there is nothing to do."""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that needs no attention."""
    return Finding(subject, Verdict.OK, text)


def skipped(subject: str, text: str, remedy: str = "") -> Finding:
    """Return a finding about something that was not checked."""
    return Finding(subject, Verdict.SKIPPED, text, remedy)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that may fail later or in part."""
    return Finding(subject, Verdict.WARNING, text, remedy)


def fault(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding about something that does not work."""
    return Finding(subject, Verdict.FAULT, text, remedy)
