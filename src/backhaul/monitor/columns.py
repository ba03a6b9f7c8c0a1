"""The lines of metrics, as many at once as a slice has: one format of all lines takes a third of a format for each."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate, chain, islice
from operator import add
from typing import Final, NewType

from backhaul.state import HistogramState

SLICE: Final = 1000
"""Lines between two pauses: a tenth of a millisecond of CPU time."""

Row = NewType("Row", bytes)
"""The labels of a line, ready for a format: with a doubled percent sign."""


def make_row(*labels: str) -> Row:
    """Return a row of labels, each with its value."""
    return Row(",".join(labels).encode().replace(b"%", b"%%"))


def joined(row: Row, other: Row) -> Row:
    """Return the labels of both."""
    return Row(row + b"," + other)


def lines(name: str, rows: Sequence[Row], values: Sequence[float]) -> bytes:
    """Return a line for each row, whose value has the same place. Values are whole numbers or bools, or else floats."""
    if not rows:
        return b""
    begin = f"{name}{{".encode()
    end = b"} %a\n" if float in map(type, values) else b"} %d\n"
    return b"".join((begin, (end + begin).join(rows), end)) % tuple(values)


def sliced(name: str, samples: Iterator[tuple[Row, float]]) -> Iterator[bytes]:
    """Return a line for each sample, in slices."""
    while batch := list(islice(samples, SLICE)):
        rows, values = zip(*batch, strict=True)
        yield lines(name, rows, values)


def histograms(name: str, rows: Sequence[Row], states: Sequence[HistogramState]) -> bytes:
    """Return the lines of histograms with the same bounds, one after the other."""
    buckets = list(accumulate(zip(*(state.counts for state in states), strict=True), _added))
    columns = [*buckets, [state.total for state in states], buckets[-1]]
    between = _between(name, states[0].bounds)
    return b"".join([row.join(between) for row in rows]) % tuple(chain.from_iterable(zip(*columns, strict=True)))


def _added(one: Iterable[float], other: Iterable[float]) -> Sequence[float]:
    return tuple(map(add, one, other))


@cache
def _between(name: str, bounds: tuple[float, ...]) -> tuple[bytes, ...]:
    """Return the text of a histogram before, between and after its labels. Sums are exact to the microsecond."""
    ends = [*(f',le="{bound}"}} %d\n' for bound in (*bounds, "+Inf")), "} %f\n", "} %d\n"]
    begins = [*[f"{name}_bucket{{"] * (len(bounds) + 1), f"{name}_sum{{", f"{name}_count{{", ""]
    return begins[0].encode(), *(f"{end}{begin}".encode() for end, begin in zip(ends, begins[1:], strict=True))
