"""Wording of times and counts."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def milliseconds(seconds: float) -> str:
    """Return a short time, such as "31 ms" or "0.4 ms"."""
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"  # noqa: PLR2004 - two digits are enough


def span(seconds: float) -> str:
    """Return a long time in its largest unit, such as "3 h"."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "less than a second"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
