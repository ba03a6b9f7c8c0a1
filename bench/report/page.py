"""A run as Markdown."""

from bench.report.results import Run
from bench.report.targets import DIRECT, HAPROXY, METRICS, OURS, PEER, TARGETS, Metric, Target

NOTHING = "-"

METHOD = """\
Every number is taken on one machine over 127.0.0.1, with both ends of the tunnel beside the load generator
and the backend, so that all of them share its cores: the ratios say more than the absolute values. A round
starts every program afresh; within it each measurement visits all routes in turn, seconds apart. Of several
rounds the best value counts (of failed requests the worst). A measurement during which the hypervisor took
more than {limit:.1%} of the CPU time is dropped and repeated at most twice: {dropped} of {total} were
dropped in this run.

The yardstick is two HAProxy processes in a row in plain TCP mode: one thread each, default buffers, no
logging; the ratios are to it. Bulk is iperf3; requests are `ab` against a one-line nginx page without
keep-alive; echo is a blocking client that sends 64 bytes and waits for them; memory is the growth of a
process's proportional set size while idle connections are opened, divided by their number.

Where the system's congestion control is BBR, as named below, it paces every connection of this benchmark but
those of backhaul, which takes it off connections within the machine: that is half of its lead in bulk. Where
it is cubic, nobody is paced.
"""


def number(value: float | None) -> str:
    """Write a value with three significant digits, None as a dash."""
    if value is None:
        return NOTHING
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def times(ratio: float | None) -> str:
    """Write a ratio with two decimals, None as a dash."""
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def verdict(run: Run, route: str, target: Target) -> str:
    """Say whether the run meets a target: met, MISSED or not measured."""
    if target.reference is None:
        value = run.value(route, target.metric)
    else:
        value = run.ratio(route, target.reference, target.metric, target.reference_metric)
    if value is None:
        return "not measured"
    return "met" if target.met_by(value) else "**MISSED**"


def _title(metric: Metric) -> str:
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _metric_row(run: Run, variant: str, metric: str, programs: list[str]) -> str:
    cells = [_title(METRICS[metric]), number(run.value(DIRECT, metric)), number(run.value(HAPROXY, metric))]
    for program in programs:
        route = f"{program}/{variant}"
        cells += [number(run.value(route, metric)), times(run.ratio(route, HAPROXY, metric))]
    targets = [target for target in TARGETS.get(variant, []) if target.metric == metric]
    cells += [str(targets[0]), verdict(run, f"{OURS}/{variant}", targets[0])] if targets else ["", ""]
    return _row(cells)


def _variant_table(run: Run, variant: str, programs: list[str]) -> str:
    routes = [f"{program}/{variant}" for program in programs]
    expected = {target.metric for target in TARGETS.get(variant, [])}
    head = ["", "direct", "HAProxy"]
    for program in programs:
        head += [program, "ratio"]
    rows = [
        _metric_row(run, variant, metric, programs)
        for metric in METRICS
        if metric in expected or any(run.value(route, metric) is not None for route in routes)
    ]
    lines = [
        f"### {variant}",
        "",
        _row([*head, "target", ""]),
        _row(["---", *["--:"] * (len(head) - 1), "--:", "---"]),
    ]
    return "\n".join([*lines, *rows, ""])


def _summary(run: Run, variants: list[str]) -> str:
    verdicts = [verdict(run, f"{OURS}/{v}", target) for v in variants for target in TARGETS.get(v, [])]
    met = verdicts.count("met")
    missing = verdicts.count("not measured")
    return f"Targets: {met} met, {len(verdicts) - met - missing} missed, {missing} not measured."


def markdown(run: Run, picture: str | None = None) -> str:
    """Render the whole report; picture is the address of the chart, if there is one."""
    programs = [OURS, *([PEER] if any(run.has(f"{PEER}/{v}") for v in run.variants) else [])]
    parts = [_summary(run, run.variants), ""]
    if picture:
        parts += [f"![Ratios to HAProxy]({picture})", ""]
    measured = [variant for variant in run.variants if any(run.has(f"{p}/{variant}") for p in programs)]
    parts += [_variant_table(run, variant, programs) for variant in measured]
    parts += ["### How it was measured", "", _method(run)]
    parts += [f"- {key}: {value}" for key, value in {"date": run.date, **run.machine}.items()]
    if run.failures:
        parts += ["", "### What could not be measured", "", *[f"- {failure}" for failure in run.failures]]
    return "\n".join(parts)


def _method(run: Run) -> str:
    return METHOD.format(limit=run.steal_limit, dropped=run.dropped, total=len(run.samples))
