"""Tables, sizes and durations on a terminal."""

from collections.abc import Iterator, Sequence
from typing import Final

_KIB: Final = 1024
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_PREFIXES: Final = ("", "k", "M", "G", "T")
_DECIMAL: Final = {"bytes": "B", "bit/s": "bit/s"}
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def table(rows: Sequence[Sequence[str]], right: frozenset[int]) -> Iterator[str]:
    """Return the lines of a table; the columns with a number in ``right`` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}".rstrip()


def size(count: float) -> str:
    """Return a number of bytes in the largest unit, such as "5.00 MiB"."""
    power = 0
    while count >= _KIB and power < len(_SIZES) - 1:
        count /= _KIB
        power += 1
    return f"{count:.2f} {_SIZES[power]}" if power else f"{count:.0f} B"


def amount(count: int, unit: str) -> str:
    """Return a number with its unit, such as "20 GB"; bytes and bits in decimal ones, as limits are written."""
    if unit not in _DECIMAL:
        return f"{count} {unit}"
    power = next(power for power in (4, 3, 2, 1, 0) if count >= 1000**power or not power)
    return f"{count / 1000**power:.3g} {_PREFIXES[power]}{_DECIMAL[unit]}"


def number(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Return the two largest units, such as "3 d 4 h"."""
    left = max(0, int(seconds))
    parts = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])
