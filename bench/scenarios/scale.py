"""Costs beside idle users, many ports and many sessions: flat if they do not grow with these.

The tunnel of the first shape stays up, and each of the others is measured in turn with it: a machine that slows down
slows down both. No two large shapes are up at the same time, because they would slow down the kernel for each other.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import NamedTuple

from bench.loads import crowd
from bench.loads.measure import bulk
from bench.loads.route import Route
from bench.machine import open_files
from bench.processes import Programs, temporary_programs, wait_until
from bench.report.results import SCALE, Run, Shape, beside, scaled
from bench.scenarios.backends import make_secrets, start_services
from bench.scenarios.contenders import Contender
from bench.scenarios.dialects.wiring import DEFAULT_POOL
from bench.scenarios.rounds import Measurement, Plan, measure_route, noting_failure, say
from bench.scenarios.routes import Backends, start_tunnel
from bench.scenarios.shapes import Room, Sizes, fit, shapes

MEASUREMENTS: Sequence[Measurement] = [crowd.rest, *[crowd.arrivals] * 6, bulk, bulk]


class Case(NamedTuple):
    """One program in one mode, with one transport in one shape."""

    contender: Contender
    label: str
    variant: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.contender.name}/{scaled(self.variant, self.shape)}"


def measure_scale(plan: Plan, sizes: Sizes, run: Run, measurements: Sequence[Measurement] = MEASUREMENTS) -> None:
    """Fill the run with the samples of all shapes; failures are noted in it, not raised."""
    run.scenario = SCALE
    room = Room.make(sizes)
    for variant in plan.variants:
        run.shapes[variant] = _possible(variant, sizes, room, run)
    for number in range(1, plan.rounds + 1):
        with temporary_programs() as programs:
            backends = Backends(start_services(programs), make_secrets(programs.directory))
            for case in _first_cases(plan, run):
                for first, other in _pairs(plan, run, number, case, backends):
                    for measurement, route in product(measurements, (first, other)):
                        measure_route(plan, run, number, measurement, route)
    say("")


def _possible(variant: str, sizes: Sizes, room: Room, run: Run) -> list[Shape]:
    wanted, most = shapes(variant, sizes), room.users(variant)
    run.failures += [f"{scaled(variant, shape)}: {room} has room for {most}" for shape in wanted if shape.users > most]
    return fit(wanted, most)


def _first_cases(plan: Plan, run: Run) -> Iterator[Case]:
    for variant, (first, *_) in run.shapes.items():
        for contender in plan.contenders:
            for label in contender.modes(variant):
                yield Case(contender, label, variant, first)


def _pairs(plan: Plan, run: Run, number: int, case: Case, backends: Backends) -> Iterator[tuple[Route, Route]]:
    """Yield the tunnel of the first shape with that of each other shape."""
    rest = plan.effort.rest_seconds
    with noting_failure(run, str(case)), _crowded(case, backends, rest) as first:
        for shape in run.shapes[case.variant][1:]:
            other = case._replace(shape=shape)
            say(f"round {number}/{plan.rounds}: {other}")
            with noting_failure(run, str(other)), _crowded(other, backends, rest) as route:
                yield first._replace(name=beside(first.name, shape)), route


@contextmanager
def _crowded(case: Case, backends: Backends, rest: float) -> Iterator[Route]:
    """Start a tunnel, and connect its idle users, who must all be there at the end."""
    with temporary_programs() as programs, ExitStack() as held:
        route = _start(programs, case, backends)
        users = crowd.Crowd(held, [port for service, port in route.ports.items() if service.startswith("echo")])
        users.gather(case.shape.users)
        time.sleep(rest)  # for pools to fill or shrink
        yield route
        users.check()


def _start(programs: Programs, case: Case, backends: Backends) -> Route:
    shape, echo = case.shape, backends.ports["echo"]
    more = {f"echo {number}": echo for number in range(2, shape.ports + 1)}
    shaped = Backends({**backends.ports, **more}, backends.secrets, shape.sessions or DEFAULT_POOL)
    route = start_tunnel(programs, case.contender, case.variant, case.label, shaped)
    server, client = route.hops
    expected = len(route.ports) + shape.sessions
    wait_until(lambda: open_files(server.pid) > expected, "every session", server, client)
    return route._replace(name=f"{route.name}, {shape}")
