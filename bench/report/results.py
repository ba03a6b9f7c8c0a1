"""The samples of a run, as stored in the JSON file, and the value that the run reports for a metric."""

from pathlib import Path

import msgspec

from bench.report.cells import grouped
from bench.report.targets import METRICS, OURS

COMPLETE = "complete"
CONNECTIONS = "connections"
SCALE = "scale"
PATH = "path"


class Sample(msgspec.Struct, frozen=True):
    """The values of one measurement on one route."""

    route: str
    round: int
    steal: float  # share (0..1) of the machine's CPU time that the hypervisor took away during the measurement
    kept: bool  # False if the hypervisor took too much; such a sample does not count
    values: dict[str, float]  # metric -> value


class Shape(msgspec.Struct, frozen=True):
    """The idle users of a tunnel, the ports they use, and the sessions that its client opens ahead of users."""

    users: int
    ports: int = 1
    sessions: int = 0  # 0: the default

    def __str__(self) -> str:
        users = f"{grouped(self.users)} users"
        if self.sessions:
            return f"{users} in {grouped(self.sessions)} sessions"
        return f"{users} on {grouped(self.ports)} ports" if self.ports > 1 else users


def scaled(variant: str, shape: Shape) -> str:
    """Return the name of a variant in one shape, as it follows the program in the name of a route."""
    return f"{variant}, {shape}"


def beside(route: str, shape: Shape) -> str:
    """Return the name of a route while it is measured in turn with that of another shape."""
    return f"{route} beside {shape}"


def path_route(variant: str, kind: str, end: str) -> str:
    """Return the name of the sample that holds the calls of one kind at one end."""
    return f"{end} {kind}/{variant}"


class Run(msgspec.Struct):
    """A whole run: its machine and date, every sample, and every failure."""

    date: str
    machine: dict[str, str]
    variants: list[str]
    rounds: int
    steal_limit: float
    samples: list[Sample] = []
    failures: list[str] = []
    peers: dict[str, str] = {}  # name -> version
    scenario: str = COMPLETE
    shapes: dict[str, list[Shape]] = {}  # variant -> shapes in which it was measured

    @property
    def dropped(self) -> int:
        """Number of samples dropped because the hypervisor stole time."""
        return sum(not sample.kept for sample in self.samples)

    def measured(self, variant: str) -> bool:
        """Return whether anything was measured on a route of the variant."""
        return any(sample.route.endswith(f"/{variant}") for sample in self.samples)

    def programs(self, variant: str) -> list[str]:
        """Return the programs, with their modes, that were measured on a variant: this one, then the peers."""
        names = [route.rpartition("/") for route in dict.fromkeys(sample.route for sample in self.samples)]
        peers = [program for program, _, on in names if on == variant and program != OURS]
        return [OURS, *sorted(peers, key=self._rank)]

    def _rank(self, program: str) -> int:
        order = list(self.peers)
        name = program.partition(" ")[0]
        return order.index(name) if name in order else len(order)

    def values(self, route: str, metric: str) -> list[float]:
        """Return the metric's values of all kept samples of a route."""
        return [
            sample.values[metric]
            for sample in self.samples
            if sample.kept and sample.route == route and metric in sample.values
        ]

    def value(self, route: str, metric: str) -> float | None:
        """Return the best kept value of a metric on a route, as METRICS defines it; None without any."""
        values = self.values(route, metric)
        return METRICS[metric].pick(values) if values else None

    def ratio(self, route: str, reference: str, metric: str, reference_metric: str | None = None) -> float | None:
        """Return the value on the route divided by that on the reference route; None without either."""
        value, base = self.value(route, metric), self.value(reference, reference_metric or metric)
        return value / base if value is not None and base else None

    def save(self, path: Path) -> None:
        """Write the run as indented JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


def load(path: Path) -> Run:
    """Read a run; raise msgspec.DecodeError if the file is not one."""
    return msgspec.json.decode(path.read_bytes(), type=Run)
