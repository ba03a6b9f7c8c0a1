"""Command line of the torture: ``sudo python -m bench.survive [--seconds 600]``."""

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import msgspec

from bench.machine import raise_file_limit
from bench.processes import BenchError, Program, Programs, temporary_programs
from bench.report.targets import OURS
from bench.scenarios.contenders import Contender, find_peers, ours
from bench.survive.faults import FAULTS, RELOAD, Fault, Happening, afflict, chosen
from bench.survive.network import Network
from bench.survive.outcome import IDLE, Outcome, markdown, rows
from bench.survive.tunnel import Tunnel
from bench.survive.users import PATIENCE, QUIET, Record

TRANSPORTS = "tcpmux v2,wsmux v2,wssmux v2"  # the first version of smux lets a slow download delay its neighbours
START = 60.0  # seconds for all users to have their first answers
CALM = 3.0  # seconds before the first fault, and after the users for sessions and spools to end


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options; end the process with a usage message after a mistake."""
    parser = argparse.ArgumentParser("python -m bench.survive", description="Afflict the line of a tunnel with users.")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each tunnel (default: 600)")
    parser.add_argument("--pause", type=float, default=3.0, help="seconds after each fault (default: 3)")
    parser.add_argument("--transport", default=TRANSPORTS, help=f"default: {TRANSPORTS}")
    parser.add_argument("--faults", default="", help="comma-separated words of the faults' names (default: all)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PATH", help="as of python -m bench")
    parser.add_argument("--only-peers", action="store_true", help="leave this program out")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the logs of all programs")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace, contender: Contender, variant: str) -> Outcome:
    """Run one tunnel."""
    title = f"{contender.name} {variant}"
    print(title, file=sys.stderr)
    with Network() as network, temporary_programs() as programs:
        try:
            return _measure(
                options,
                Tunnel(network, programs, contender, variant, verbose=bool(options.logs)),
                network,
                programs,
                title,
            )
        finally:
            _keep_logs(options.logs, programs.directory, title)


def _measure(options: argparse.Namespace, tunnel: Tunnel, network: Network, programs: Programs, title: str) -> Outcome:
    until = time.monotonic() + options.seconds
    users = tunnel.start_users(options.seconds, programs.directory)
    _wait_for(programs.directory / "ready", users, START, "the tunnel does not come up")
    time.sleep(CALM)
    before = tunnel.memory()
    faults = chosen([word for word in options.faults.split(",") if word], _possible(tunnel))
    happenings = []
    for happening in afflict(network, faults, options.pause, until):
        print(f"{time.strftime('%X')} {happening.kind}", file=sys.stderr)
        happenings.append(happening)
    records = _records(users, programs.directory / "users.json")
    time.sleep(CALM)
    after = tunnel.memory()
    memory = {end: (size, after[end]) for end, size in before.items()}
    return _outcome(title, happenings, records, memory, tunnel.status())


def _possible(tunnel: Tunnel) -> Mapping[str, Fault]:
    return {**FAULTS, RELOAD: tunnel.reload_nginx} if tunnel.nginx else FAULTS


def _records(users: Program, file: Path) -> list[Record]:
    _wait_for(file, users, QUIET + 2 * PATIENCE, "the users do not end")
    return msgspec.json.decode(file.read_bytes(), type=list[Record])


def _wait_for(file: Path, users: Program, patience: float, otherwise: str) -> None:
    deadline = time.monotonic() + patience
    while not file.exists():
        users.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(otherwise)
        time.sleep(0.1)


def _outcome(
    title: str,
    happenings: list[Happening],
    records: list[Record],
    memory: dict[str, tuple[int, int]],
    status: dict[str, dict[str, object]],
) -> Outcome:
    idle = [record for record in records if record.kind == IDLE]
    return Outcome(
        lost=sum(len(record.lost) for record in records),
        idle=f"{sum(len(record.lost) for record in idle)} losses among {len(idle)}",
        title=title,
        rows=rows(happenings, records),
        users=len(records),
        wrong=sum(record.wrong for record in records),
        exchanges=sum(record.exchanges for record in records),
        reasons=Counter(why for record in records for _, why in record.lost),
        memory=memory,
        status=status,
    )


def _keep_logs(folder: Path | None, directory: Path, title: str) -> None:
    if folder:
        target = folder / title.replace(" ", "-")
        target.mkdir(parents=True, exist_ok=True)
        for file in (*directory.glob("*.log"), *directory.glob("*.json"), *directory.glob("*.toml")):
            (target / file.name).write_bytes(file.read_bytes())


def main() -> int:
    """Return the exit status: 1 if a user of this program was lost, or if bytes were wrong."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that namespaces and programs end then, too
    raise_file_limit()
    outcomes: list[Outcome] = []
    try:
        contenders = [*([] if options.only_peers else [ours()]), *find_peers(options.peer)]
        for variant, contender in product(options.transport.split(","), contenders):
            outcomes.append(measure(options, contender, variant))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        print(markdown(outcomes))
    return int(any(outcome.wrong or (outcome.lost and outcome.title.startswith(OURS)) for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
