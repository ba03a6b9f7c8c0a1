"""`backhaul`: what the arguments ask for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from backhaul import __version__

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def run(argv: Sequence[str] | None = None) -> None:
    """Carry out the command line and exit: 0 good end, 2 bad configuration or usage, 1 anything else."""
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:  # somebody piped us into `head`
        sys.stdout = None  # nothing is left to flush at exit
        code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_FAILED
    raise SystemExit(code)


def _dispatch(argv: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.command == "check":
        return _check(options.file)
    if options.command == "demo":
        return _demo(once=options.once)
    if options.config:
        return _serve(options.config)
    parser.print_usage(sys.stderr)
    print("backhaul: name a configuration file: backhaul -c FILE", file=sys.stderr)
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="backhaul", description="Reverse tunnel through NAT and firewalls.")
    parser.add_argument("-v", "--version", action="version", version=f"backhaul {__version__}")
    parser.add_argument("-c", "--config", metavar="FILE", help="run the server or client that FILE describes")
    commands = parser.add_subparsers(dest="command", metavar="command")
    check = commands.add_parser("check", help="validate a configuration file and show what would run")
    check.add_argument("file")
    demo = commands.add_parser("demo", help="start a server, a client and a small service on this machine")
    demo.add_argument("--once", action="store_true", help="end after the first transfers")
    return parser


def _serve(file: str) -> int:
    from backhaul.config import ConfigError, load  # noqa: PLC0415 - `--version` needs none of it

    from .serve import serve  # noqa: PLC0415

    try:
        config = load(file)
    except ConfigError as error:
        return _complain(error)
    return serve(config)


def _check(file: str) -> int:
    from backhaul.config import ConfigError, load  # noqa: PLC0415

    from .check import render  # noqa: PLC0415

    try:
        print(render(load(Path(file))))
    except ConfigError as error:
        return _complain(error)
    return EXIT_OK


def _demo(*, once: bool) -> int:
    from .demo import run as run_demo  # noqa: PLC0415 - the demo's web service is not needed otherwise

    return run_demo(once=once)


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)
    return EXIT_USAGE
