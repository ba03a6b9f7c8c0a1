"""The path of one connection: system calls and Python functions for each of many users, who come one after the other.

The system calls are counted by strace in one pair of processes, the functions by a profile hook in another one. Work
that belongs to no user, such as heartbeats, is divided among the users, too: a few hundredths of a call.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.loads import calls
from bench.loads.route import Route
from bench.loads.users import cost
from bench.machine import tracer
from bench.processes import BenchError, Program, Programs, find_tool, temporary_programs, wait_until
from bench.report.results import PATH, Run, Sample, path_route
from bench.scenarios.backends import make_secrets, start_services
from bench.scenarios.contenders import ours
from bench.scenarios.rounds import noting_failure, say
from bench.scenarios.routes import Backends, start_tunnel

WARM_UP = 200  # users before the count, after whom pools are full
ENDS = ("server", "client")

Counts = Mapping[str, int]  # system call or function -> number


def count_paths(users: int, run: Run) -> None:
    """Fill the run with a sample for each transport, kind of call and end; failures are noted in it, not raised."""
    run.scenario = PATH
    run.machine["users"] = str(users)
    with temporary_programs() as programs:
        backends = Backends(start_services(programs), make_secrets(programs.directory))
        for variant in run.variants:
            for kind, count in (("system calls", _system_calls), ("functions", _functions)):
                say(f"{kind} of {variant}")
                with noting_failure(run, f"{variant}: {kind}"):
                    _add(run, variant, kind, users, count(backends, variant, users))
    say("")


def _add(run: Run, variant: str, kind: str, users: int, counts: list[Counts]) -> None:
    for end, found in zip(ENDS, counts, strict=True):
        values = {name: number / users for name, number in found.items()}
        run.samples.append(Sample(path_route(variant, kind, end), 1, 0.0, kept=True, values=values))


def _system_calls(backends: Backends, variant: str, users: int) -> list[Counts]:
    with temporary_programs() as programs:
        route = start_tunnel(programs, ours(), variant, "", backends)
        _serve(route, WARM_UP)
        traced = [_trace(programs, hop) for hop in route.hops]
        _serve(route, users)
        for strace, _ in traced:
            strace.stop()
        return [system_calls(summary.read_text()) for _, summary in traced]


def _trace(programs: Programs, hop: Program) -> tuple[Program, Path]:
    summary = programs.directory / f"{hop.name}.strace"
    argv = [find_tool("strace"), "-f", "-c", "-o", str(summary), "-p", str(hop.pid)]
    strace = programs.start("strace", argv)
    wait_until(lambda: tracer(hop.pid) == strace.pid, "strace", strace)
    return strace, summary


def system_calls(summary: str) -> Counts:
    """Return the number of each system call in a summary of ``strace -c``."""
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", summary, re.MULTILINE)
    return {name: int(number) for number, name in rows if name != "total"}


def _functions(backends: Backends, variant: str, users: int) -> list[Counts]:
    counted = [sys.executable, "-m", "bench.loads.calls", "-c"]
    with temporary_programs() as programs:
        route = start_tunnel(programs, ours()._replace(server=counted, client=counted), variant, "", backends)
        _serve(route, WARM_UP)
        files = [calls.results_of(programs.directory, hop.pid) for hop in route.hops]
        for hop in route.hops:
            hop.signal(calls.START)
        wait_until(lambda: all(file.exists() for file in files), "the counter", *route.hops)
        _serve(route, users)
        for hop in route.hops:
            hop.signal(calls.STOP)
        wait_until(lambda: all(file.read_text() for file in files), "the counter", *route.hops)
        return [json.loads(file.read_text()) for file in files]


def _serve(route: Route, users: int) -> None:
    if failed := cost(route, users, 1)["user_failures"]:
        raise BenchError(f"{failed:.0f} requests failed")
