"""A run of several shapes of the tunnel, as Markdown."""

from collections.abc import Iterator
from typing import NamedTuple

from bench.report.cells import NOTHING, grouped, number, table, times
from bench.report.method import circumstances, failures
from bench.report.results import Run, Shape, beside, scaled
from bench.report.targets import OURS, Metric

METRICS = {
    "connection_cpu": Metric("CPU per connection", "ms", higher_is_better=False),
    "cpu_per_gb": Metric("CPU per byte", "s/GB", higher_is_better=False),
    "user_rate": Metric("new connections", "1/s", higher_is_better=True),
}
IDLE = Metric("CPU without traffic", "ms/s", higher_is_better=False)
FLAT = 1.15  # most that may be lost from the first shape to another one

METHOD = """\
CPU time is that of both ends. The tunnel of the first row stays up, and each of the others is measured in turn with it.
Their users connect, get an echo and stay silent while others are measured: new connections, six times a round, with
`ab`, 100 at a time, against a one-line nginx page without keep-alive, and twice iperf3 up, down and on 8 streams.
Then each idle user must still get an echo. The best value of all rounds ({rounds}) counts. A ratio in parentheses is
that to the first tunnel at the same time. A bold one is not flat: the cost is more than {flat} times as high, or the
rate is lower by that factor. The hypervisor took more than {limit:.1%} of the CPU time in {dropped} of {total}
measurements, which were dropped.
"""


class Series(NamedTuple):
    """The measurements of one program on one variant in all shapes, the first of which is the reference."""

    run: Run
    program: str
    variant: str

    @property
    def shapes(self) -> list[Shape]:
        """The shapes that were measured."""
        return self.run.shapes[self.variant]

    def values(self, shape: Shape, metric: str) -> list[float]:
        """Return all kept values of a metric in one shape."""
        if shape != self.shapes[0]:
            return self.run.values(self._route(shape), metric)
        return [value for other in self.shapes[1:] for value in self._reference(other, metric)]

    def value(self, shape: Shape, metric: str) -> float | None:
        """Return the best kept value of a metric in one shape; None without any."""
        return _best(metric, self.values(shape, metric))

    def ratio(self, shape: Shape, metric: str) -> float | None:
        """Return the value in a shape divided by that of the reference at the same time; None without either."""
        if shape == self.shapes[0]:
            return 1.0 if self.values(shape, metric) else None
        here, base = self.value(shape, metric), _best(metric, self._reference(shape, metric))
        return here / base if here is not None and base else None

    def _reference(self, other: Shape, metric: str) -> list[float]:
        return self.run.values(beside(self._route(self.shapes[0]), other), metric)

    def _route(self, shape: Shape) -> str:
        return f"{self.program}/{scaled(self.variant, shape)}"


def _best(metric: str, values: list[float]) -> float | None:
    return METRICS[metric].pick(values) if values else None


def is_flat(metric: str, change: float) -> bool:
    """Return whether a ratio is near enough to 1, or better."""
    return change * FLAT >= 1 if METRICS[metric].higher_is_better else change <= FLAT


def markdown(run: Run, picture: str | None = None) -> str:
    """Render the run; picture is the address of its chart, if there is one."""
    parts = [f"![Costs beside idle users]({picture})", ""] if picture else []
    for series in _all_series(run):
        parts += [f"### {series.variant}" + ("" if series.program == OURS else f" ({series.program})"), ""]
        parts += [*_table(series), ""]
    return "\n".join([*parts, "### How it was measured", "", _method(run), *circumstances(run), *failures(run)])


def _all_series(run: Run) -> Iterator[Series]:
    for variant, shapes in run.shapes.items():
        for program in run.programs(scaled(variant, shapes[-1])):
            yield Series(run, program, variant)


def _table(series: Series) -> list[str]:
    head = ["", *[f"{m.title}, {m.unit}" for m in METRICS.values()], f"{IDLE.title}, {IDLE.unit}", "open files"]
    return table(head, [_row(series, shape) for shape in series.shapes])


def _row(series: Series, shape: Shape) -> list[str]:
    costs = [
        f"{number(series.value(shape, metric))} ({_marked(metric, series.ratio(shape, metric))})" for metric in METRICS
    ]
    idle = series.values(shape, "idle_cpu")
    return [str(shape), *costs, number(IDLE.pick(idle) if idle else None), _files(series, shape)]


def _marked(metric: str, change: float | None) -> str:
    return times(change) if change is None or is_flat(metric, change) else f"**{times(change)}**"


def _files(series: Series, shape: Shape) -> str:
    ends = [series.values(shape, f"{end}_files") for end in ("server", "client")]
    return " / ".join(grouped(max(values)) if values else NOTHING for values in ends)


def _method(run: Run) -> str:
    return METHOD.format(
        rounds=run.rounds, flat=FLAT, limit=run.steal_limit, dropped=run.dropped, total=len(run.samples)
    )
