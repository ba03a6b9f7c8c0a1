"""A run of several shapes of the tunnel, as Markdown."""

from bench.report.cells import grouped, number, table, times
from bench.report.method import circumstances, failures
from bench.report.results import Run, Shape, scaled
from bench.report.targets import OURS, Metric

METRICS = {
    "connection_cpu": Metric("CPU per connection", "ms", higher_is_better=False),
    "cpu_per_gb": Metric("CPU per byte", "s/GB", higher_is_better=False),
    "user_rate": Metric("new connections", "1/s", higher_is_better=True),
}
IDLE = Metric("CPU without traffic", "ms/s", higher_is_better=False)
FLAT = 1.15  # most that may be lost from the first shape to another one

METHOD = """\
CPU time is that of both ends. Each shape of the tunnel is started alone, once in each round. Its users connect, get an
echo and stay silent while others are measured: new connections, three times, with `ab`, 100 at a time, against a
one-line nginx page without keep-alive, and iperf3 up, down and on 8 streams. Then each idle user must still get an
echo. The best value counts. A ratio in parentheses is that to the first row. A bold one is not flat: the cost is more
than {flat} times as high, or the rate is lower by that factor. The hypervisor took more than {limit:.1%} of the
CPU time in {dropped} of {total} measurements, which were dropped.
"""


def value(run: Run, route: str, metric: str) -> float | None:
    """Return the best kept value of a metric on a route; None without any."""
    values = run.values(route, metric)
    return METRICS[metric].pick(values) if values else None


def ratio(run: Run, program: str, variant: str, shape: Shape, metric: str) -> float | None:
    """Return the value of a shape divided by that of the variant's first shape."""
    first = run.shapes[variant][0]
    here, base = (value(run, f"{program}/{scaled(variant, one)}", metric) for one in (shape, first))
    return here / base if here is not None and base else None


def is_flat(metric: str, change: float) -> bool:
    """Return whether a ratio is near enough to 1, or better."""
    return change * FLAT >= 1 if METRICS[metric].higher_is_better else change <= FLAT


def markdown(run: Run, picture: str | None = None) -> str:
    """Render the run; picture is the address of its chart, if there is one."""
    parts = [f"![Costs beside idle users]({picture})", ""] if picture else []
    for variant, shapes in run.shapes.items():
        for program in _programs(run, variant):
            parts += [f"### {variant}" + ("" if program == OURS else f" ({program})"), ""]
            parts += [*_table(run, program, variant, shapes), ""]
    return "\n".join([*parts, "### How it was measured", "", _method(run), *circumstances(run), *failures(run)])


def _programs(run: Run, variant: str) -> list[str]:
    return run.programs(scaled(variant, run.shapes[variant][0]))


def _table(run: Run, program: str, variant: str, shapes: list[Shape]) -> list[str]:
    head = ["", *[f"{m.title}, {m.unit}" for m in METRICS.values()], f"{IDLE.title}, {IDLE.unit}", "open files"]
    return table(head, [_row(run, program, variant, shape) for shape in shapes])


def _row(run: Run, program: str, variant: str, shape: Shape) -> list[str]:
    route = f"{program}/{scaled(variant, shape)}"
    cells = []
    for metric in METRICS:
        change = ratio(run, program, variant, shape, metric)
        cells.append(f"{number(value(run, route, metric))} ({_marked(metric, change)})")
    idle = run.values(route, "idle_cpu")
    return [str(shape), *cells, number(IDLE.pick(idle) if idle else None), _files(run, route)]


def _marked(metric: str, change: float | None) -> str:
    return times(change) if change is None or is_flat(metric, change) else f"**{times(change)}**"


def _files(run: Run, route: str) -> str:
    ends = [run.values(route, f"{end}_files") for end in ("server", "client")]
    return " / ".join(grouped(max(values)) if values else "-" for values in ends)


def _method(run: Run) -> str:
    return METHOD.format(flat=FLAT, limit=run.steal_limit, dropped=run.dropped, total=len(run.samples))
