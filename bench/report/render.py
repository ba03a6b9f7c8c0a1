"""The page of a run of any scenario."""

from bench.report import page, repeats
from bench.report.results import CONNECTIONS, Run


def markdown(run: Run, picture: str | None = None) -> str:
    """Render a run; picture is the address of its chart, if there is one."""
    return repeats.markdown(run) if run.scenario == CONNECTIONS else page.markdown(run, picture)
