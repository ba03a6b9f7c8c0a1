"""Small runs of the benchmark's scenarios with real tunnels, users and tools."""

from bench.loads import crowd
from bench.loads.measure import Effort
from bench.report import render
from bench.report.results import Run
from bench.scenarios.contenders import ours
from bench.scenarios.path import count_paths
from bench.scenarios.rounds import Plan
from bench.scenarios.scale import measure_scale
from bench.scenarios.shapes import Sizes


def test_costs_beside_idle_users_ports_and_sessions() -> None:
    plan = Plan(["tcpmux"], [ours()], 1, Effort(requests=100, rest_seconds=0.1), steal_limit=1.0)
    run = Run("today", {}, plan.variants, plan.rounds, plan.steal_limit)
    measure_scale(plan, Sizes([10], ports=20, sessions=100), run, [crowd.rest, crowd.arrivals])
    assert run.failures == []
    files = {sample.route: sample.values["server_files"] for sample in run.samples if "server_files" in sample.values}
    ports, sessions = (files[f"backhaul/tcpmux, {shape}"] for shape in run.shapes["tcpmux"][1:])
    assert ports > 20 + 20
    assert sessions > 500 + 100
    assert all(sample.values["connection_cpu"] > 0 for sample in run.samples if "server_files" not in sample.values)


def test_calls_of_one_connection() -> None:
    run = Run("today", {}, ["tcp"], 1, 1.0)
    count_paths(20, run)
    assert run.failures == []
    values = {sample.route: sample.values for sample in run.samples}
    assert values["server system calls/tcp"]["accept4"] >= 1
    assert values["client system calls/tcp"]["connect"] >= 1
    assert values["server functions/tcp"]["tunnel.user_dispatcher:UserDispatcher.take"] == 1
    assert values["client functions/tcp"]["tunnel.client:ClientTunnel.arrived"] == 1
    assert "| `accept4` |" in render.markdown(run)
