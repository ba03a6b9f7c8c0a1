"""A run as Markdown."""

from bench.report.cells import number, table, times
from bench.report.method import circumstances, failures, method
from bench.report.results import Run
from bench.report.targets import DIRECT, HAPROXY, METRICS, OURS, TARGETS, Metric, Target


def verdict(run: Run, route: str, target: Target) -> str:
    """Return whether the run meets a target: met, MISSED or not measured."""
    if target.reference is None:
        value = run.value(route, target.metric)
    else:
        value = run.ratio(route, target.reference, target.metric, target.reference_metric)
    if value is None:
        return "not measured"
    return "met" if target.met_by(value) else "**MISSED**"


def _title(metric: Metric) -> str:
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def _metric_row(run: Run, variant: str, metric: str) -> list[str]:
    ours, *peers = run.programs(variant)
    cells = [_title(METRICS[metric]), number(run.value(DIRECT, metric)), number(run.value(HAPROXY, metric))]
    cells += [number(run.value(f"{ours}/{variant}", metric)), times(run.ratio(f"{ours}/{variant}", HAPROXY, metric))]
    for peer in (f"{peer}/{variant}" for peer in peers):
        cells += [number(run.value(peer, metric)), times(run.ratio(f"{ours}/{variant}", peer, metric))]
    targets = [target for target in TARGETS.get(variant, []) if target.metric == metric]
    verdicts = [verdict(run, f"{ours}/{variant}", target) for target in targets]
    return [*cells, "; ".join(map(str, targets)), "; ".join(verdicts)]


def _variant_table(run: Run, variant: str) -> list[str]:
    ours, *peers = run.programs(variant)
    expected = {target.metric for target in TARGETS.get(variant, [])}
    head = ["", "direct", "HAProxy", ours, "to HAProxy"]
    for peer in peers:
        head += [peer, f"to {peer}"]
    rows = [
        _metric_row(run, variant, metric)
        for metric in METRICS
        if metric in expected
        or any(run.value(f"{program}/{variant}", metric) is not None for program in (ours, *peers))
    ]
    return [f"### {variant}", "", *table([*head, "target", ""], rows), ""]


def _summary(run: Run, variants: list[str]) -> str:
    verdicts = [verdict(run, f"{OURS}/{v}", target) for v in variants for target in TARGETS.get(v, [])]
    met = verdicts.count("met")
    missing = verdicts.count("not measured")
    return f"Targets: {met} met, {len(verdicts) - met - missing} missed, {missing} not measured."


def markdown(run: Run, picture: str | None = None) -> str:
    """Render the whole report; picture is the address of the chart, if there is one."""
    parts = [_summary(run, run.variants), ""]
    if picture:
        parts += [f"![Ratios to HAProxy]({picture})", ""]
    for variant in filter(run.measured, run.variants):
        parts += _variant_table(run, variant)
    parts += ["### How it was measured", "", method(run), *circumstances(run), *failures(run)]
    return "\n".join(parts)
