"""New connections alone, in many short rounds: the programs stay up, and each round visits all of them in turn.

A machine with occasional disturbances leaves some rounds undisturbed. The lowest of many short rounds, and their
quartile, show differences of a few per cent that the best of three long rounds can't show.
"""

import time
from typing import NamedTuple

from bench.loads.route import Route
from bench.loads.users import cost
from bench.machine import CpuTimes
from bench.processes import BenchError, temporary_programs
from bench.report.results import Run, Sample
from bench.scenarios.rounds import Plan, noting_failure, say, start_routes
from bench.scenarios.variants import VARIANTS

SETTLE_SECONDS = 1.0  # for pools to fill and for the programs to warm up


class Repeats(NamedTuple):
    """The number of repetitions, and the size of each."""

    rounds: int
    users: int
    concurrency: int

    def __str__(self) -> str:
        return f"{self.rounds} of {self.users} users, {self.concurrency} at a time"


def repeat_connections(plan: Plan, repeats: Repeats, run: Run) -> None:
    """Fill the run with samples of new connections alone; a failure is noted, and not tried again."""
    variants = [variant for variant in plan.variants if VARIANTS[variant].load == "streams"]
    if not variants:
        raise BenchError("--connections: expected a transport that carries streams, such as tcp")
    with temporary_programs() as programs:
        started = start_routes(plan._replace(variants=variants), run, programs)
        routes = [route for route in started if route.hops]
        time.sleep(SETTLE_SECONDS)
        for number in range(repeats.rounds + 1):  # the first round is a warm-up
            say(f"round {number}/{repeats.rounds}")
            # In both directions, so that no program always follows the same one.
            routes = [route for route in reversed(routes) if _measured(run, number, repeats, route)]
    say("")


def _measured(run: Run, number: int, repeats: Repeats, route: Route) -> bool:
    with noting_failure(run, f"{route.name} connections"):
        before = CpuTimes.now()
        values = cost(route, repeats.users, repeats.concurrency)
        steal = before.stolen_share_to(CpuTimes.now())
        run.samples.append(Sample(route.name, number, round(steal, 4), number > 0, values))
        return True
    return False
