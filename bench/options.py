"""The options of the benchmark's command line."""

import argparse
from pathlib import Path

from bench.scenarios.shapes import Sizes
from bench.scenarios.variants import VARIANTS

PEER_HELP = """a program to compare with, repeatable: rathole=PROGRAM, frp=FOLDER with frps and frpc (or rathole-X,
frp-X), and by any other name a program that reads the same configuration files as this one"""

CONNECTIONS_HELP = "measure only what new connections cost, in this many short rounds"
SCALE_HELP = "measure costs beside many idle users, listening ports and sessions"
PATH_HELP = "count the system calls and Python functions for each user"

KNOWN = ", ".join(VARIANTS)
STREAMS = [name for name, settings in VARIANTS.items() if settings.load == "streams"]


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the options; end the process with a usage message after a mistake."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.transport = [name.strip() for name in (options.transport or _default_transports(options)).split(",")]
    special = options.connections or options.scale or options.path
    for name in options.transport:
        if name not in VARIANTS:
            parser.error(f"--transport: unknown {name!r}; known: {KNOWN}")
        if (options.scale or options.path) and name not in STREAMS:
            parser.error(f"--transport: expected transports that carry streams, such as tcp, got {name!r}")
    if options.chart and special and not options.scale:
        parser.error("--chart: not available with --connections or --path")
    if options.scale and len(options.idle) + bool(options.ports) + bool(options.sessions) < 2:
        parser.error("--idle: expected several numbers of users, such as 10,200")
    if options.before and not options.path:
        parser.error("--before: only with --path")
    if options.before and not options.before.is_file():
        parser.error(f"--before: there is no file {options.before}")
    for path in (options.json, options.chart):
        if path and not path.parent.is_dir():
            parser.error(f"{path}: there is no directory {path.parent}")
    return options


def _default_transports(options: argparse.Namespace) -> str:
    if options.scale:
        return "tcp,tcpmux,ws"
    return "tcp,tcpmux,wss" if options.path else ",".join(VARIANTS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench", description="Measure the tunnel beside two HAProxy hops.")
    parser.add_argument("--transport", help=f"comma-separated; known: {KNOWN}")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help=PEER_HELP)
    parser.add_argument("--rounds", type=count, default=3, help="the best of them counts (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test, not a measurement")
    parser.add_argument("--max-steal", type=float, default=2.0, metavar="PERCENT", help="default: 2")
    parser.add_argument("--json", type=Path, metavar="PATH", help="store the run with every sample")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw the ratios as SVG")
    _add_scenarios(parser)
    return parser


def _add_scenarios(parser: argparse.ArgumentParser) -> None:
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--connections", type=count, metavar="ROUNDS", help=CONNECTIONS_HELP)
    only.add_argument("--scale", action="store_true", help=SCALE_HELP)
    only.add_argument("--path", action="store_true", help=PATH_HELP)
    parser.add_argument("--before", type=Path, metavar="PATH", help="of --path: a stored run to compare with")
    parser.add_argument("--users", type=count, default=2000, help="of --connections and --path (default: 2000)")
    parser.add_argument("--concurrency", type=count, default=100, help="of --connections (default: 100)")
    parser.add_argument(
        "--idle", type=counts, default=[10, 1000, 10_000, 30_000], metavar="N,N", help="users of --scale"
    )
    parser.add_argument("--ports", type=int, default=1000, help="of --scale; 0: leave it out (default: 1000)")
    parser.add_argument("--sessions", type=int, default=200, help="of --scale; 0: leave it out (default: 200)")


def count(text: str) -> int:
    """Read a number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return number


def counts(text: str) -> list[int]:
    """Read numbers above 0."""
    return [count(part) for part in text.split(",")]


def sizes(options: argparse.Namespace) -> Sizes:
    """Return the sizes of --scale."""
    return Sizes(options.idle, options.ports, options.sessions)
