"""Rounds: every route is started afresh, then each measurement visits all routes in turn.

So the numbers that are compared are taken seconds apart: a machine that slows down slows down all of them.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.loads import datagrams, measure, players, stall, users
from bench.loads.measure import Effort, Values
from bench.loads.route import Route
from bench.machine import CpuTimes
from bench.processes import BenchError, Programs, temporary_programs
from bench.report.results import Run, Sample
from bench.scenarios.backends import make_secrets, start_services
from bench.scenarios.contenders import Contender
from bench.scenarios.routes import Backends, route_name, start_direct, start_haproxy, start_tunnel

ATTEMPTS = 3  # attempts for each measurement and round, if the hypervisor steals time

Measurement = Callable[[Route, Effort], Values]

# (kind of traffic, measurement). Memory comes first: after a load test, freed pages hide the cost of a connection.
MEASUREMENTS: list[tuple[str, Measurement]] = [
    ("streams", measure.idle_memory),
    ("streams", measure.echo),
    ("datagrams", datagrams.echo),  # right after the echo of streams, with which it is compared
    ("streams", users.connections),
    ("streams", measure.bulk),
    ("bulk", measure.bulk),
    ("datagrams", players.players),
    ("datagrams", datagrams.datagrams),
    ("stall", stall.stalled_reader),
]


class Plan(NamedTuple):
    """The routes of a run, and the effort for each."""

    variants: list[str]
    contenders: list[Contender]
    rounds: int
    effort: Effort
    steal_limit: float


def measure_all(plan: Plan, run: Run) -> None:
    """Fill the run with the samples of all rounds; failures are noted in it, not raised."""
    for number in range(1, plan.rounds + 1):
        with temporary_programs() as programs:
            routes = list(start_routes(plan, run, programs))
            for load, measurement in MEASUREMENTS:
                for route in (route for route in routes if load in route.loads):
                    say(f"round {number}/{plan.rounds}: {measurement.__name__} {route.name}")
                    measure_route(plan, run, number, measurement, route)
    say("")


def say(text: str) -> None:
    """Show progress on one line of the terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def start_routes(plan: Plan, run: Run, programs: Programs) -> Iterator[Route]:
    """Start the programs of a round, those that are compared one after the other."""
    backends = Backends(start_services(programs), make_secrets(programs.directory))
    yield start_direct(programs, backends)
    yield start_haproxy(programs, backends)
    for variant in plan.variants:
        for contender in plan.contenders:
            for label in contender.modes(variant):
                name = route_name(contender, variant, label)
                with noting_failure(run, name):
                    say(f"starting {name}")
                    yield start_tunnel(programs, contender, variant, label, backends)


@contextlib.contextmanager
def noting_failure(run: Run, what: str) -> Iterator[None]:
    """Note a failure in the run, and continue."""
    try:
        yield
    except (BenchError, OSError) as error:
        failure = f"{what}: {error}"
        if failure not in run.failures:  # a program that does not start fails in every round
            run.failures.append(failure)


def measure_route(plan: Plan, run: Run, number: int, measurement: Measurement, route: Route) -> None:
    """Add a sample to the run, or a few if the hypervisor steals time; a failure is noted."""
    with noting_failure(run, f"{route.name} {measurement.__name__}"):
        for _ in range(ATTEMPTS):
            before = CpuTimes.now()
            values = measurement(route, plan.effort)
            steal = before.stolen_share_to(CpuTimes.now())
            kept = steal <= plan.steal_limit
            run.samples.append(Sample(route.name, number, round(steal, 4), kept, values))
            if kept:
                return
