"""Render a stored run as Markdown: ``python -m bench.report RUN.json [CHART.svg]``."""

import sys
from pathlib import Path

from bench.report.render import markdown
from bench.report.results import load


def main() -> None:
    """Print the page for the documentation."""
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m bench.report RUN.json [CHART.svg]")
    run = load(Path(sys.argv[1]))
    print("# Benchmarks\n\nWritten by `python -m bench.report` from a run of `make bench`.\n")
    print(markdown(run, *sys.argv[2:]))


if __name__ == "__main__":
    main()
