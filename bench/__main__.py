"""Command line of the benchmark."""

import argparse
import datetime as dt
import signal
import sys

from bench import options as command_line
from bench.loads.measure import QUICK, Effort
from bench.machine import describe, raise_file_limit
from bench.processes import BenchError
from bench.report import path, render
from bench.report.results import CONNECTIONS, Run, load
from bench.scenarios.contenders import find_peers, ours
from bench.scenarios.path import count_paths
from bench.scenarios.repeats import Repeats, repeat_connections
from bench.scenarios.rounds import Plan, measure_all
from bench.scenarios.scale import measure_scale


def make_plan(options: argparse.Namespace) -> Plan:
    """Return the plan that the options describe."""
    return Plan(
        variants=options.transport,
        contenders=[ours(), *find_peers(options.peer)],
        rounds=1 if options.quick else options.rounds,
        effort=QUICK if options.quick else Effort(),
        steal_limit=options.max_steal / 100,
    )


def _measure(options: argparse.Namespace, plan: Plan, run: Run) -> None:
    if options.scale:
        return measure_scale(plan, command_line.sizes(options), run)
    if options.path:
        return count_paths(options.users, run)
    if not options.connections:
        return measure_all(plan, run)
    repeats = Repeats(options.connections, options.users, options.concurrency)
    run.scenario = CONNECTIONS
    run.machine["rounds"] = str(repeats)
    return repeat_connections(plan, repeats, run)


def main() -> int:
    """Measure, print the report, and store the requested files; return the exit status."""
    options = command_line.parse_arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started programs are stopped then, too
    try:
        plan = make_plan(options)
        raise_file_limit()
        now = dt.datetime.now(dt.UTC).isoformat(timespec="minutes")
        run = Run(now, describe(), plan.variants, plan.rounds, plan.steal_limit)
        run.peers = {peer.name: peer.version for peer in plan.contenders[1:]}
        _measure(options, plan, run)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(path.markdown(run, load(options.before)) if options.before else render.markdown(run))
    if options.json:
        run.save(options.json)
    if options.chart:
        options.chart.write_text(render.svg(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
