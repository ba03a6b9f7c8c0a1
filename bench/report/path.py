"""The path of one connection as Markdown: calls for each user, on both ends."""

from collections import defaultdict
from collections.abc import Mapping

from bench.report.cells import NOTHING, table
from bench.report.method import circumstances, failures
from bench.report.results import Run, path_route

FEWEST = 0.05  # calls for a user that are worth a row
BUILT_IN = "(functions in C)"

METHOD = """\
Calls for each user: {users} users came one after the other, sent a request to a one-line nginx page and got the answer
(`ab -c 1`). System calls are those that strace counted. Functions are Python's, of the program and of its libraries;
those in C are counted apart, and not in the sum.
"""

Calls = Mapping[str, float]  # name -> calls for a user
Change = tuple[Calls, Calls]  # before and after; without an earlier run both are the same


def markdown(run: Run, before: Run | None = None) -> str:
    """Render the run, beside an earlier one, with all functions but those that are called rarely on every end."""
    ends = [(variant, end) for variant in run.variants for end in ("server", "client")]
    heads = [f"{variant} {end}" for variant, end in ends]
    system = [_change(run, before or run, path_route(variant, "system calls", end)) for variant, end in ends]
    functions = [_change(run, before or run, path_route(variant, "functions", end)) for variant, end in ends]
    modules = [(_by_module(earlier), _by_module(later)) for earlier, later in functions]
    parts = [*_table("system calls", heads, system), ""]
    parts += [*_table("functions by module", heads, modules), ""]
    parts += [*_table("functions", heads, functions), "", METHOD.format(users=run.machine["users"])]
    return "\n".join([*parts, *circumstances(run), *_origin(before), *failures(run)])


def _change(run: Run, before: Run, route: str) -> Change:
    return _calls(before, route), _calls(run, route)


def _calls(run: Run, route: str) -> Calls:
    return next((sample.values for sample in run.samples if sample.route == route), {})


def _by_module(calls: Calls) -> Calls:
    modules: defaultdict[str, float] = defaultdict(float)
    for name, number in calls.items():
        modules[name.partition(":")[0]] += number
    return modules


def _table(kind: str, heads: list[str], columns: list[Change]) -> list[str]:
    most: defaultdict[str, list[float]] = defaultdict(list)
    for calls in (calls for column in columns for calls in column):
        for name, number in calls.items():
            most[name].append(number)
    ranked = sorted((name for name in most if max(most[name]) >= FEWEST), key=lambda name: (-sum(most[name]), name))
    rows = [[f"`{name}`", *[_cell(*(calls.get(name, 0) for calls in column)) for column in columns]] for name in ranked]
    return table([kind, *heads], [["all", *[_cell(*map(_sum, column)) for column in columns]], *rows])


def _sum(calls: Calls) -> float:
    return sum(calls.values()) - calls.get(BUILT_IN, 0)


def _cell(before: float, after: float) -> str:
    earlier, later = (f"{number:.1f}" if number >= FEWEST else NOTHING for number in (before, after))
    return later if earlier == later else f"{earlier} → {later}"


def _origin(before: Run | None) -> list[str]:
    return [f"- before: {before.machine['revision']}, {before.date}"] if before else []
