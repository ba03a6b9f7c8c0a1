"""The page and the chart of a run of any scenario."""

from bench.report import chart, page, path, repeats, scale, scale_chart
from bench.report.results import CONNECTIONS, PATH, SCALE, Run


def markdown(run: Run, picture: str | None = None) -> str:
    """Render a run; picture is the address of its chart, if there is one."""
    if run.scenario == CONNECTIONS:
        return repeats.markdown(run)
    if run.scenario == PATH:
        return path.markdown(run)
    return scale.markdown(run, picture) if run.scenario == SCALE else page.markdown(run, picture)


def svg(run: Run) -> str:
    """Draw a run that has a chart."""
    return scale_chart.svg(run) if run.scenario == SCALE else chart.svg(run)
