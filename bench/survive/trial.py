"""One tunnel with users, and the faults of its line."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.processes import Programs, temporary_programs, wait_until
from bench.scenarios.contenders import Contender
from bench.survive.crowd import QUIET
from bench.survive.faults import FAULTS, RELOAD, Happening, afflict, chosen
from bench.survive.network import Network
from bench.survive.outcome import IDLE, Outcome, rows
from bench.survive.tunnel import Tunnel
from bench.survive.users import PATIENCE, Record

START = 60.0  # seconds for all users to have their first answers
CALM = 3.0  # seconds before the first fault, and after the users for sessions and spools to end


class Trial(NamedTuple):
    """One tunnel, and the faults to which its line is exposed."""

    contender: Contender
    variant: str
    words: Sequence[str]  # of the names of the faults; all without any
    seconds: float
    pause: float
    logs: Path | None  # the folder for the logs of all programs

    @property
    def title(self) -> str:
        """The program and the transport."""
        return f"{self.contender.name} {self.variant}"

    def run(self) -> Outcome:
        """Run it. Raises BenchError."""
        print(self.title, file=sys.stderr)
        with Network() as network, temporary_programs() as programs:
            try:
                tunnel = Tunnel(network, programs, self.contender, self.variant, verbose=bool(self.logs))
                return self._afflict(tunnel, network, programs)
            finally:
                self._keep_logs(programs.directory)

    def _afflict(self, tunnel: Tunnel, network: Network, programs: Programs) -> Outcome:
        users = tunnel.start_users(self.seconds, programs.directory)
        wait_until((programs.directory / "ready").exists, "the tunnel", users, timeout=START)
        until = time.monotonic() + self.seconds
        before = tunnel.memory()
        time.sleep(CALM)
        happenings = []
        faults = {**FAULTS, RELOAD: tunnel.reload_nginx}
        wanted = {kind: faults[kind] for kind in chosen(self.words, self.variant)}
        for happening in afflict(network, wanted, self.pause, until):
            print(f"{time.strftime('%X')} {happening.kind}", file=sys.stderr)
            happenings.append(happening)
        written = programs.directory / "users.json"
        wait_until(written.exists, "a user", users, timeout=QUIET + 2 * PATIENCE)
        records = msgspec.json.decode(written.read_bytes(), type=list[Record])
        time.sleep(CALM)
        return self._outcome(tunnel, happenings, records, before)

    def _outcome(
        self, tunnel: Tunnel, happenings: list[Happening], records: list[Record], before: dict[str, int]
    ) -> Outcome:
        after = tunnel.memory()
        idle = [record for record in records if record.kind == IDLE]
        return Outcome(
            title=self.title,
            rows=rows(happenings, records),
            wrong=sum(record.wrong for record in records),
            exchanges=sum(record.exchanges for record in records),
            vain=sum(record.vain for record in records),
            reasons=Counter(why for record in records for _, why in record.lost),
            memory={end: (size, after[end]) for end, size in before.items()},
            status=tunnel.status(),
            lost=sum(len(record.lost) for record in records),
            idle=f"{sum(len(record.lost) for record in idle)} losses among {len(idle)}",
        )

    def _keep_logs(self, directory: Path) -> None:
        if self.logs:
            target = self.logs / self.title.replace(" ", "-")
            target.mkdir(parents=True, exist_ok=True)
            for file in (*directory.glob("*.log"), *directory.glob("*.json"), *directory.glob("*.toml")):
                (target / file.name).write_bytes(file.read_bytes())
