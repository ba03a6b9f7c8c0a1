"""The ratios to HAProxy as a picture: one group of bars for each transport, drawn as SVG."""

import math

from bench.report.results import Run
from bench.report.targets import HAPROXY, METRICS, OURS

METRICS_SHOWN = {
    "bulk_up": ("bulk, 1 stream", "#1b6ca8"),
    "bulk_8": ("bulk, 8 streams", "#58a4d6"),
    "connections_100": ("new connections", "#3a8f5c"),
    "echo_p50": ("echo p50", "#d08a2e"),
}
BAR, GAP, LEFT, WIDTH, TOP = 11, 16, 150, 520, 50
VALUE_WIDTH = 30  # width of a number beside the longest bar to the left
RANGE = (0.125, 4.0)  # on a logarithmic axis: twice as good and half as good are equally far from 1


def svg(run: Run) -> str:
    """Draw the run. A longer bar is always better: latencies enter as the inverse of their ratio."""
    groups = [route for route in _routes(run) if any(_advantage(run, route, m) for m in METRICS_SHOWN)]
    step = len(METRICS_SHOWN) * BAR + GAP
    height = TOP + step * len(groups) + 10
    body = [*_axis(height), *_legend()]
    for index, route in enumerate(groups):
        body += _group(run, route, TOP + index * step)
    return picture(LEFT + WIDTH + 60, height, body)


def picture(width: int, height: int, body: list[str]) -> str:
    """Put the drawing on white paper of this size."""
    size = f'width="{width}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11" fill="#333"'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join([paper, *body, "</svg>\n"])


def _routes(run: Run) -> list[str]:
    return [f"{program}/{variant}" for variant in run.variants for program in run.programs(variant)]


def _advantage(run: Run, route: str, metric: str) -> float | None:
    ratio = run.ratio(route, HAPROXY, metric)
    if not ratio:
        return None
    return ratio if METRICS[metric].higher_is_better else 1 / ratio


def _x(ratio: float) -> float:
    low, high = map(math.log, RANGE)
    position = (math.log(ratio) - low) / (high - low)
    return LEFT + WIDTH * min(max(position, 0.0), 1.0)


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    """Write text whose start, middle or end is at x, with its baseline at y."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _axis(height: int) -> list[str]:
    lines = []
    for ratio in (0.125, 0.25, 0.5, 1, 2, 4):
        x, stroke = _x(ratio), "#333" if ratio == 1 else "#ddd"
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{height - 10}" stroke="{stroke}"/>')
        lines.append(text(x, TOP - 12, "HAProxy" if ratio == 1 else f"{ratio:g}x", "middle"))
    return lines


def _legend() -> list[str]:
    lines = []
    for index, (label, colour) in enumerate(METRICS_SHOWN.values()):
        x = LEFT + index * 130
        lines += [f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>', text(x + 15, 17, label)]
    return lines


def _group(run: Run, route: str, top: int) -> list[str]:
    program, variant = route.split("/")
    label = variant if program == OURS else f"{variant} ({program})"
    lines = [text(LEFT - VALUE_WIDTH, top + len(METRICS_SHOWN) * BAR / 2 + 4, label, "end")]
    for index, (metric, (_, colour)) in enumerate(METRICS_SHOWN.items()):
        if advantage := _advantage(run, route, metric):
            lines += _bar(top + index * BAR, advantage, colour)
    return lines


def _bar(y: int, advantage: float, colour: str) -> list[str]:
    start, end = sorted((_x(1), _x(advantage)))
    box = f'x="{start:.1f}" y="{y}" width="{end - start:.1f}" height="{BAR - 2}"'
    return [
        f'<rect {box} fill="{colour}"/>',
        text(
            end + 4 if advantage >= 1 else start - 4,
            y + BAR - 2.5,
            f"{advantage:.2f}",
            "start" if advantage >= 1 else "end",
        ),
    ]
