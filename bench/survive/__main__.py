"""Command line of the torture: ``sudo python -m bench.survive [--seconds 600]``."""

import argparse
import signal
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from bench.machine import raise_file_limit
from bench.processes import BenchError
from bench.report.targets import OURS
from bench.scenarios.contenders import find_peers, ours
from bench.survive.faults import FAULTS, RELOAD, chosen
from bench.survive.outcome import Outcome, markdown
from bench.survive.trial import Trial

TRANSPORTS = "tcpmux v2,wsmux v2,wssmux v2"  # the first version of smux lets a slow download delay its neighbours
EACH_HELP = "a new tunnel for each fault, which happens once: for programs that do not recover from some"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options; end the process with a usage message after a mistake."""
    parser = argparse.ArgumentParser("python -m bench.survive", description="Expose the line of a tunnel to faults.")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each tunnel (default: 600)")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds after each fault (default: 3)")
    parser.add_argument("--each", action="store_true", help=EACH_HELP)
    parser.add_argument("--transport", default=TRANSPORTS, help=f"default: {TRANSPORTS}")
    parser.add_argument("--faults", default="", help="comma-separated words of the faults' names (default: all)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="as of python -m bench")
    parser.add_argument("--only-peers", action="store_true", help="leave this program out")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the logs of all programs, this one's in full")
    return parser.parse_args(arguments)


def trials(options: argparse.Namespace) -> Iterator[Trial]:
    """Return the trials that the options ask for. Raises BenchError."""
    contenders = [*([] if options.only_peers else [ours()]), *find_peers(options.peer)]
    words = [word for word in options.faults.split(",") if word]
    for word in words:
        if not any(word in kind for kind in (*FAULTS, RELOAD)):
            raise BenchError(f"--faults {word}: no fault has this word; they are: {', '.join((*FAULTS, RELOAD))}")
    for variant, contender in product(options.transport.split(","), contenders):
        if options.each:
            for fault in chosen(words, variant):
                yield Trial(contender, variant, [fault], 0.0, options.pause, options.logs)
        else:
            yield Trial(contender, variant, words, options.seconds, options.pause, options.logs)


def main() -> int:
    """Return the exit status: 1 if a user of this program was lost, or if bytes were wrong."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that namespaces and programs end then, too
    raise_file_limit()
    outcomes: list[Outcome] = []
    try:
        for trial in trials(options):
            outcomes.append(trial.run())  # noqa: PERF401 - those before an error are printed, too
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        print(markdown(outcomes))
    return int(any(outcome.wrong or (outcome.lost and outcome.title.startswith(OURS)) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
