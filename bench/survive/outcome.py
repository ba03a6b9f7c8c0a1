"""The effects of the faults on the users."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.survive.faults import Happening
from bench.survive.users import STALL, Record

CLOSE = STALL / 2  # seconds before a fault in which a user who waits for an answer has had the last one
IDLE = "idle"


class Row(NamedTuple):
    """The users of one kind of fault."""

    kind: str
    times: int
    lost: int
    kept: int
    stalls: Sequence[float]  # seconds after the end of the fault


class Outcome(NamedTuple):
    """The result of one run."""

    title: str
    rows: Sequence[Row]
    wrong: int
    exchanges: int
    vain: int
    reasons: Counter[str]
    memory: dict[str, tuple[int, int]]  # end -> bytes at the start and at the end
    status: dict[str, dict[str, object]]
    lost: int
    idle: str  # how many of the idle users were lost


def rows(happenings: Sequence[Happening], records: Sequence[Record]) -> list[Row]:
    """Assign each loss and each stall of the users who exchange bytes to the fault in which it began."""
    active = [record for record in records if record.kind != IDLE]
    lost = Counter(_cause(happenings, when) for record in active for when, _ in record.lost)
    stalls: dict[str, list[float]] = {}
    for record in active:
        for kind, stall in _stalls(happenings, record):
            stalls.setdefault(kind, []).append(stall)
    there = Counter(happening.kind for happening in happenings for record in active if _is_there(record, happening))
    times = Counter(happening.kind for happening in happenings)
    return [
        Row(kind, count, lost[kind], there[kind] - lost[kind], stalls.get(kind, [])) for kind, count in times.items()
    ]


def _is_there(record: Record, happening: Happening) -> bool:
    """Return whether the user was connected when the fault began, and had been answered since the one before."""
    came = [moment for moment in record.came if moment <= happening.begin]
    return bool(came) and not any(came[-1] <= when < happening.begin - CLOSE for when, _ in record.lost)


def _cause(happenings: Sequence[Happening], answered: float) -> str:
    """Return the fault after which a user whose last answer came at this moment got no other."""
    return next((fault.kind for fault in reversed(happenings) if fault.begin <= answered + CLOSE), "")


def _stalls(happenings: Sequence[Happening], record: Record) -> Iterator[tuple[str, float]]:
    """Yield the seconds after each fault until the user continued; a fault within another one's stall is left out."""
    stalls = _merged(record.stalls)
    for happening in happenings:
        if any(start < happening.begin - CLOSE and end > happening.end for start, end in stalls):
            continue
        own = [end for start, end in stalls if happening.begin - CLOSE <= start < happening.end + STALL]
        yield happening.kind, max(0.0, max(own, default=0.0) - happening.end)


def _merged(stalls: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the stalls, two as one if a single answer came in between."""
    merged: list[tuple[float, float]] = []
    for start, end in stalls:
        follows = bool(merged) and start - merged[-1][1] < CLOSE
        merged.append((merged.pop()[0] if follows else start, end))
    return merged


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return a table of all faults, and the other counts."""
    lines = [
        "| | times | users kept | users lost | stall after it, median and longest |",
        "| --- | --: | --: | --: | --: |",
    ]
    for outcome in outcomes:
        lines += [_line(outcome.title, row) for row in outcome.rows]
    return "\n".join([*lines, "", *(f"- {_summary(outcome)}" for outcome in outcomes)])


def _line(title: str, row: Row) -> str:
    stall = f"{median(row.stalls):.1f} s, {max(row.stalls):.1f} s" if row.stalls and row.kept else "-"
    return f"| {title}, {row.kind} | {row.times} | {row.kept} | {row.lost} | {stall} |"


def _summary(outcome: Outcome) -> str:
    memory = ", ".join(f"{end} {a / 1e6:.1f} → {b / 1e6:.1f} MB" for end, (a, b) in outcome.memory.items())
    counts = f"{outcome.exchanges} exchanges, {outcome.wrong} wrong, {outcome.vain} connections in vain"
    text = f"{outcome.title}: {counts}; memory of the {memory}"
    for end, status in outcome.status.items():
        sessions = {key: status.get(key) for key in ("resumes", "parked", "replayed", "spooled")}
        text += f"; {end}: " + ", ".join(f"{key} {value}" for key, value in sessions.items())
    reasons = ", ".join(f"{why} {count}" for why, count in outcome.reasons.most_common())
    return f"{text}; losses: {reasons or 'none'}; idle: {outcome.idle}"
