"""Costs beside idle users as a picture: a panel for each metric, a line for each transport, drawn as SVG."""

import math
from collections.abc import Iterable

from bench.report.cells import grouped
from bench.report.chart import picture, text
from bench.report.results import Run, Shape
from bench.report.scale import FLAT, METRICS, Series
from bench.report.targets import OURS

COLOURS = ("#1b6ca8", "#3a8f5c", "#d08a2e", "#a83a5b", "#6b4fa0", "#4a4a4a")
WIDTH, HEIGHT, LEFT, TOP = 340, 200, 45, 60  # of a panel, and of the first one's corner
GAP = 45
COLUMN = 78  # width of the place of one shape to the right of the axis of users
RANGE = (0.5, 2.0)  # of the ratios; on a logarithmic axis twice and half are equally far from 1
TICKS = (0.5, 0.7, 1, 1.4, 2)


class Axis:
    """The horizontal axis of a panel: users on a logarithmic scale, and beside it the other shapes."""

    def __init__(self, shapes: Iterable[Shape]) -> None:
        shapes = list(shapes)
        self.users = sorted({shape.users for shape in shapes if _has_users_alone(shape)})
        self.columns = list(dict.fromkeys(_column(shape) for shape in shapes if not _has_users_alone(shape)))
        self._width = WIDTH - COLUMN * len(self.columns) - 15

    def x(self, shape: Shape) -> float:
        """Return the distance of a shape from the left end."""
        if not _has_users_alone(shape):
            return self.column(_column(shape))
        low, high = math.log(self.users[0]), math.log(self.users[-1])
        return 10 + (self._width - 20) * (math.log(shape.users) - low) / ((high - low) or 1)

    def ticks(self) -> list[int]:
        """Return the powers of ten among the numbers of users."""
        return [10**digits for digits in range(9) if self.users[0] <= 10**digits <= self.users[-1]]

    def column(self, name: str) -> float:
        """Return the distance of the middle of a column from the left end."""
        return self._width + 15 + COLUMN * (self.columns.index(name) + 0.5)


def _has_users_alone(shape: Shape) -> bool:
    return shape.ports == 1 and not shape.sessions


def _column(shape: Shape) -> str:
    return f"{grouped(shape.sessions)} sessions" if shape.sessions else f"{grouped(shape.ports)} ports"


def svg(run: Run) -> str:
    """Draw the run: the costs of this program in each shape, in relation to those in the first one."""
    axis = Axis(shape for shapes in run.shapes.values() for shape in shapes)
    body = [*_legend(run), text(LEFT, TOP + HEIGHT + 52, _origin(run))]
    for index, metric in enumerate(METRICS):
        left = LEFT + index * (WIDTH + GAP)
        body += [*_frame(axis, left, metric), *_lines(run, axis, left, metric)]
    return picture(LEFT + len(METRICS) * (WIDTH + GAP), TOP + HEIGHT + 60, body)


def _origin(run: Run) -> str:
    return f"{run.date}, " + ", ".join(f"{key} {run.machine[key]}" for key in ("revision", "cpu") if key in run.machine)


def _y(change: float) -> float:
    low, high = map(math.log, RANGE)
    position = (math.log(change) - low) / (high - low)
    return TOP + HEIGHT * (1 - min(max(position, 0.0), 1.0))


def _legend(run: Run) -> list[str]:
    drawn = []
    for index, (variant, colour) in enumerate(zip(run.shapes, COLOURS, strict=False)):
        x = LEFT + index * 110
        drawn += [f'<rect x="{x}" y="8" width="10" height="10" fill="{colour}"/>', text(x + 15, 17, variant)]
    return drawn


def _frame(axis: Axis, left: int, metric: str) -> list[str]:
    drawn = [text(left + WIDTH / 2, TOP - 12, f"{METRICS[metric].title}, in relation to the fewest users", "middle")]
    drawn += [_level(left, tick, "#333" if tick == 1 else "#ddd") for tick in TICKS]
    drawn += [text(left - 5, _y(tick) + 4, f"{tick:g}x", "end") for tick in TICKS]
    drawn.append(_level(left, 1 / FLAT if METRICS[metric].higher_is_better else FLAT, "#c33", 'stroke-dasharray="4 3"'))
    foot = TOP + HEIGHT + 16
    drawn += [text(left + axis.x(Shape(users)), foot, grouped(users), "middle") for users in axis.ticks()]
    drawn += [text(left + axis.column(name), foot, name, "middle") for name in axis.columns]
    return [*drawn, text(left + 10, foot + 16, "idle users")]


def _level(left: int, change: float, colour: str, more: str = "") -> str:
    y = f"{_y(change):.1f}"
    return f'<line x1="{left}" x2="{left + WIDTH}" y1="{y}" y2="{y}" stroke="{colour}" {more}/>'


def _lines(run: Run, axis: Axis, left: int, metric: str) -> list[str]:
    drawn = []
    for (variant, shapes), colour in zip(run.shapes.items(), COLOURS, strict=False):
        series = Series(run, OURS, variant)
        points = {
            shape: (left + axis.x(shape), _y(change)) for shape in shapes if (change := series.ratio(shape, metric))
        }
        along = " ".join(f"{x:.1f},{y:.1f}" for shape, (x, y) in points.items() if _has_users_alone(shape))
        drawn.append(f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points.values()]
    return drawn
