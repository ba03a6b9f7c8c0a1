"""The path of one connection as Markdown: calls for each user, on both ends."""

from bench.report.cells import NOTHING, table
from bench.report.method import circumstances, failures
from bench.report.results import Run, path_route

FEWEST = 0.05  # calls for a user that are worth a row

METHOD = """\
Calls for each user: {users} users came one after the other, sent a request to a one-line nginx page and got the answer
(`ab -c 1`). System calls are those that strace counted; functions are Python's, by module and name, those of the
program and of its libraries.
"""


def markdown(run: Run) -> str:
    """Render the run."""
    parts = [*_table(run, "system calls"), ""]
    parts += [*_table(run, "functions"), "", METHOD.format(users=run.machine["users"])]
    return "\n".join([*parts, *circumstances(run), *failures(run)])


def _table(run: Run, kind: str) -> list[str]:
    columns = [_calls(run, variant, kind, end) for variant in run.variants for end in ("server", "client")]
    names = {name for column in columns for name, number in column.items() if number >= FEWEST}
    ranked = sorted(names, key=lambda name: (-sum(column.get(name, 0) for column in columns), name))
    total = ["all", *[f"{sum(column.values()):.1f}" for column in columns]]
    rows = [[f"`{name}`", *[_cell(column.get(name, 0)) for column in columns]] for name in ranked]
    heads = [f"{variant} {end}" for variant in run.variants for end in ("server", "client")]
    return table([kind, *heads], [total, *rows])


def _calls(run: Run, variant: str, kind: str, end: str) -> dict[str, float]:
    route = path_route(variant, kind, end)
    return next((sample.values for sample in run.samples if sample.route == route), {})


def _cell(number: float) -> str:
    return f"{number:.1f}" if number >= FEWEST else NOTHING
