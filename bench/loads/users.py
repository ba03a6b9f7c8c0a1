"""The measurements of new connections: ab requests a tiny page of nginx, each time on a new connection."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.loads.measure import Effort, Values
from bench.loads.route import Route
from bench.machine import cpu_seconds
from bench.processes import LOOPBACK, BenchError, run_tool


def connections(route: Route, effort: Effort) -> Values:
    """Measure new connections per second with 10, 100 and 500 at a time, p99 at 10, and failed requests."""
    values: Values = {"failed_requests": 0.0}
    with TemporaryDirectory() as directory:
        for concurrency in (10, 100, 500):
            percentiles = Path(directory) / f"{concurrency}.csv"
            output = _ab(route, effort.requests, concurrency, "-e", str(percentiles))
            values[f"connections_{concurrency}"] = ab_figure(output, "Requests per second")
            values["failed_requests"] += ab_failures(output)
            if concurrency == 10:
                values["connect_p99"] = ab_percentile(percentiles.read_text(), 99)
    return values


def cost(route: Route, users: int, concurrency: int) -> Values:
    """Measure the CPU time (µs) that each hop spends on a user, the users per second, and those that failed."""
    before = [cpu_seconds([hop.pid]) for hop in route.hops]
    output = _ab(route, users, concurrency)
    spent = [cpu_seconds([hop.pid]) - start for hop, start in zip(route.hops, before, strict=True)]
    server, client = (seconds * 1e6 / users for seconds in spent)
    return {
        "user_server_cpu": server,
        "user_client_cpu": client,
        "user_rate": ab_figure(output, "Requests per second"),
        "user_failures": ab_failures(output),
    }


def _ab(route: Route, requests: int, concurrency: int, *options: str) -> str:
    url = f"http://{LOOPBACK}:{route.ports['http']}/"
    counts = ("-n", str(requests), "-c", str(concurrency))
    return run_tool("ab", "-q", "-r", "-s", "15", *counts, *options, url, timeout=60)


def ab_figure(output: str, label: str) -> float:
    """Return one labelled figure of ab's report; raise BenchError if it is missing."""
    match = re.search(rf"^{label}:\s+([\d.]+)", output, re.MULTILINE)
    if match is None:
        raise BenchError(f"ab reported no {label!r}")
    return float(match[1])


def ab_failures(output: str) -> int:
    """Return the number of failed requests; ab's own sum counts one under several headings."""
    match = re.search(r"\(Connect: (\d+), Receive: (\d+), Length: (\d+), Exceptions: (\d+)\)", output)
    return max(map(int, match.groups())) if match else 0


def ab_percentile(csv: str, percent: int) -> float:
    """Return the time of one percentile, in milliseconds, from ab's -e file."""
    rows = dict(line.split(",") for line in csv.splitlines()[1:])
    return float(rows[str(percent)])
