"""A run of new connections alone, as Markdown: best, quartile and median of many rounds."""

import statistics

from bench.report.cells import NOTHING, number, table
from bench.report.method import circumstances, failures
from bench.report.results import Run
from bench.report.targets import HAPROXY, Metric

METRICS = {
    "user_server_cpu": Metric("CPU time per user, server", "µs", higher_is_better=False),
    "user_client_cpu": Metric("CPU time per user, client", "µs", higher_is_better=False),
    "user_rate": Metric("new connections", "1/s", higher_is_better=True),
}
FAILURES = "user_failures"

METHOD = """\
Each cell holds best / quartile / median of all rounds: the lowest CPU time or highest rate, what a quarter of
the rounds reach, and what half of them reach. A row "to X" holds backhaul's figures divided by those of X.
The programs are started once; a round visits all of them in turn, to and fro, with `ab` against a one-line nginx
page without keep-alive. The hypervisor took {median:.1%} of the CPU time in the median round, {most:.1%} in the worst.
"""


def summary(values: list[float], metric: Metric) -> list[float]:
    """Return best, quartile and median; empty without values."""
    ranked = sorted(values, reverse=metric.higher_is_better)
    last = len(ranked) - 1
    return [ranked[last * quarter // 4] for quarter in (0, 1, 2)] if ranked else []


def markdown(run: Run) -> str:
    """Render the run."""
    parts: list[str] = []
    for variant in filter(run.measured, run.variants):
        parts += [f"### {variant}", "", *_variant_table(run, variant), ""]
    parts += ["### How it was measured", "", _method(run), *circumstances(run), *failures(run)]
    return "\n".join(parts)


def _variant_table(run: Run, variant: str) -> list[str]:
    routes = {HAPROXY: HAPROXY, **{program: f"{program}/{variant}" for program in run.programs(variant)}}
    ours = f"{run.programs(variant)[0]}/{variant}"
    rows = [[program, *_figures(run, route)] for program, route in routes.items()]
    rows += [[f"to {name}", *_ratios(run, ours, route)] for name, route in routes.items() if route != ours]
    return table(["", *[f"{metric.title}, {metric.unit}" for metric in METRICS.values()], "failed"], rows)


def _figures(run: Run, route: str) -> list[str]:
    cells = [_cell([number(value) for value in _summary(run, route, name)]) for name in METRICS]
    return [*cells, number(sum(run.values(route, FAILURES)))]


def _ratios(run: Run, ours: str, reference: str) -> list[str]:
    def ratios(name: str) -> list[str]:
        pairs = zip(_summary(run, ours, name), _summary(run, reference, name), strict=False)
        return [f"{value / base:.3f}x" if base else NOTHING for value, base in pairs]

    return [*[_cell(ratios(name)) for name in METRICS], ""]


def _summary(run: Run, route: str, name: str) -> list[float]:
    return summary(run.values(route, name), METRICS[name])


def _cell(figures: list[str]) -> str:
    return " / ".join(figures) or NOTHING


def _method(run: Run) -> str:
    steals = [sample.steal for sample in run.samples if sample.kept] or [0.0]
    return METHOD.format(median=statistics.median(steals), most=max(steals))
