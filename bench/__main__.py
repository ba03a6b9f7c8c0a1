"""Command line of the benchmark."""

import argparse
import datetime as dt
import signal
import sys
from pathlib import Path

from bench.loads.measure import QUICK, Effort
from bench.machine import describe, raise_file_limit
from bench.processes import BenchError
from bench.report import chart, render
from bench.report.results import CONNECTIONS, Run
from bench.scenarios.contenders import find_peers, ours
from bench.scenarios.repeats import Repeats, repeat_connections
from bench.scenarios.rounds import Plan, measure_all
from bench.scenarios.variants import VARIANTS

PEER_HELP = """a program to compare with, repeatable: rathole=PROGRAM, frp=FOLDER with frps and frpc (or rathole-X,
frp-X), and by any other name a program that reads the same configuration files as this one"""

CONNECTIONS_HELP = "measure only what new connections cost, in this many short rounds"

KNOWN = ", ".join(VARIANTS)


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the options; end the process with a usage message after a mistake."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.transport = [name.strip() for name in options.transport.split(",")]
    for name in options.transport:
        if name not in VARIANTS:
            parser.error(f"--transport: unknown {name!r}; known: {KNOWN}")
    if options.chart and options.connections:
        parser.error("--chart: not available with --connections")
    for path in (options.json, options.chart):
        if path and not path.parent.is_dir():
            parser.error(f"{path}: there is no directory {path.parent}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measure the tunnel beside two HAProxy hops.")
    parser.add_argument("--transport", default=",".join(VARIANTS), help=f"comma-separated; known: {KNOWN}")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help=PEER_HELP)
    parser.add_argument("--rounds", type=count, default=3, help="the best of them counts (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test, not a measurement")
    parser.add_argument("--max-steal", type=float, default=2.0, metavar="PERCENT", help="default: 2")
    parser.add_argument("--connections", type=count, metavar="ROUNDS", help=CONNECTIONS_HELP)
    parser.add_argument("--users", type=count, default=2000, help="in a round of --connections (default: 2000)")
    parser.add_argument("--concurrency", type=count, default=100, help="of --connections (default: 100)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="store the run with every sample")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw the ratios to HAProxy as SVG")
    return parser


def count(text: str) -> int:
    """Read a number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


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
    if not options.connections:
        return measure_all(plan, run)
    repeats = Repeats(options.connections, options.users, options.concurrency)
    run.scenario = CONNECTIONS
    run.machine["rounds"] = str(repeats)
    return repeat_connections(plan, repeats, run)


def main() -> int:
    """Measure, print the report, and store the requested files; return the exit status."""
    options = parse_arguments(sys.argv[1:])
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
    print(render.markdown(run))
    if options.json:
        run.save(options.json)
    if options.chart:
        options.chart.write_text(chart.svg(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
