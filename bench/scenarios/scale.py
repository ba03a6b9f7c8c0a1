"""Costs beside idle users, many ports and many sessions: flat if they do not grow with these.

Each shape has a tunnel of its own, alone on the machine: the users of another one would slow down the kernel for it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.loads import crowd
from bench.loads.measure import bulk
from bench.loads.route import Route
from bench.machine import open_files
from bench.processes import Programs, wait_until
from bench.report.results import SCALE, Run, Shape, scaled
from bench.scenarios.backends import make_secrets, start_services
from bench.scenarios.contenders import Contender
from bench.scenarios.dialects.wiring import DEFAULT_POOL
from bench.scenarios.rounds import Measurement, Plan, measure_route, noting_failure, say
from bench.scenarios.routes import Backends, start_tunnel
from bench.scenarios.shapes import Room, Sizes, fit, shapes

ARRIVALS = 3  # short measurements of new connections in a round

MEASUREMENTS: Sequence[Measurement] = [crowd.rest, *[crowd.arrivals] * ARRIVALS, bulk]


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
        with _programs() as programs:
            backends = Backends(start_services(programs), make_secrets(programs.directory))
            for case in _cases(plan, run):
                say(f"round {number}/{plan.rounds}: {case}")
                with noting_failure(run, str(case)), _crowded(case, backends, plan.effort.rest_seconds) as route:
                    for measurement in measurements:
                        measure_route(plan, run, number, measurement, route)
    say("")


@contextmanager
def _programs() -> Iterator[Programs]:
    with TemporaryDirectory(prefix="bench-") as directory, Programs(Path(directory)) as programs:
        yield programs


def _possible(variant: str, sizes: Sizes, room: Room, run: Run) -> list[Shape]:
    wanted, most = shapes(variant, sizes), room.users(variant)
    run.failures += [f"{scaled(variant, shape)}: {room} has room for {most}" for shape in wanted if shape.users > most]
    return fit(wanted, most)


def _cases(plan: Plan, run: Run) -> Iterator[Case]:
    for variant, found in run.shapes.items():
        for shape in found:
            for contender in plan.contenders:
                for label in contender.modes(variant):
                    yield Case(contender, label, variant, shape)


@contextmanager
def _crowded(case: Case, backends: Backends, rest: float) -> Iterator[Route]:
    """Start a tunnel, and connect its idle users, who must all be there at the end."""
    with _programs() as programs, ExitStack() as held:
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
