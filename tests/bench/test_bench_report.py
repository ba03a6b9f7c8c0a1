"""The benchmark's pure parts: the samples that count, the comparisons, and the report."""

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from bench.loads.datagrams import Delivery
from bench.loads.services import ANSWER, DATAGRAM, Tally
from bench.loads.users import ab_failures, ab_figure, ab_percentile
from bench.machine import CpuTimes, cpu_seconds
from bench.processes import BenchError
from bench.report import cells, chart, page, render, repeats, results
from bench.report.results import Run, Sample
from bench.report.targets import METRICS, TARGETS, Target

DOCS = Path(__file__).parents[2] / "docs"


def sample(route: str, *, kept: bool = True, **values: float) -> Sample:
    return Sample(route, 1, 0.0, kept, values)


def run_of(*samples: Sample, failures: Iterable[str] = ()) -> Run:
    return Run("2026-01-01", {"cpu": "one"}, ["tcp"], 1, 0.02, list(samples), list(failures))


def test_stolen_share_is_of_the_time_between_the_readings() -> None:
    assert CpuTimes(total=1000, stolen=10).stolen_share_to(CpuTimes(total=1200, stolen=15)) == 0.025


def test_stolen_share_of_no_time_is_zero() -> None:
    assert CpuTimes(5, 5).stolen_share_to(CpuTimes(5, 5)) == 0


def test_best_round_counts_for_either_direction() -> None:
    run = run_of(sample("haproxy", bulk_up=2, echo_p50=90), sample("haproxy", bulk_up=3, echo_p50=80))
    assert (run.value("haproxy", "bulk_up"), run.value("haproxy", "echo_p50")) == (3, 80)


def test_worst_round_counts_for_failed_requests() -> None:
    run = run_of(sample("haproxy", failed_requests=0), sample("haproxy", failed_requests=7))
    assert run.value("haproxy", "failed_requests") == 7


def test_dropped_sample_counts_for_nothing_but_is_counted() -> None:
    run = run_of(sample("haproxy", kept=False, bulk_up=9), sample("haproxy", bulk_up=2))
    assert run.value("haproxy", "bulk_up") == 2
    assert run.dropped == 1


@pytest.mark.parametrize("missing", ["haproxy", "backhaul/tcp"])
def test_no_ratio_without_both_values(missing: str) -> None:
    run = run_of(*[sample(route, bulk_up=1) for route in ("haproxy", "backhaul/tcp") if route != missing])
    assert run.ratio("backhaul/tcp", "haproxy", "bulk_up") is None


def test_ratio_to_zero_is_none() -> None:
    run = run_of(sample("haproxy", failed_requests=0), sample("backhaul/tcp", failed_requests=1))
    assert run.ratio("backhaul/tcp", "haproxy", "failed_requests") is None


@pytest.mark.parametrize(("bulk", "said"), [(14, "met"), (13.9, "**MISSED**"), (None, "not measured")], ids=str)
def test_verdict_on_a_floor_relative_to_haproxy(bulk: float | None, said: str) -> None:
    ours = [] if bulk is None else [sample("backhaul/tcp", bulk_up=bulk)]
    run = run_of(sample("haproxy", bulk_up=10), *ours)
    assert page.verdict(run, "backhaul/tcp", Target("bulk_up", 1.4)) == said


@pytest.mark.parametrize(("size", "said"), [(4096, "met"), (4097, "**MISSED**")])
def test_verdict_on_an_absolute_ceiling(size: int, said: str) -> None:
    run = run_of(sample("backhaul/tcp", server_bytes=size))
    assert page.verdict(run, "backhaul/tcp", Target("server_bytes", 4096, reference=None)) == said


def test_a_metric_with_several_limits_has_a_verdict_on_each() -> None:
    run = run_of(
        sample("backhaul/tcpmux", bulk_up=10),
        sample("backhaul/tcpmux sealed", bulk_up=8),
        sample("v072/tcpmux sealed", bulk_up=5),
    )
    run.variants = ["tcpmux sealed"]
    said = "≥ 0.78x of backhaul/tcpmux; ≥ 2x of v072/tcpmux sealed; ≥ 4x of rathole/tcpmux sealed"
    assert f"| {said} | met; **MISSED**; not measured |" in page.markdown(run)


def test_datagram_echo_is_compared_with_the_echo_of_tcp() -> None:
    run = run_of(sample("backhaul/tcp", echo_p50=100), sample("backhaul/udp", udp_echo_p50=119))
    [target] = [target for target in TARGETS["udp"] if target.metric == "udp_echo_p50"]
    assert page.verdict(run, "backhaul/udp", target) == "met"


def test_every_target_names_a_known_metric() -> None:
    targets = [target for targets in TARGETS.values() for target in targets]
    assert {target.reference_metric or target.metric for target in targets} <= METRICS.keys()


@pytest.mark.parametrize(
    ("value", "written"), [(None, "-"), (0, "0"), (0.4567, "0.457"), (12.34, "12.3"), (20412.4, "20 412")]
)
def test_three_significant_digits(value: float | None, written: str) -> None:
    assert cells.number(value) == written


def test_report_holds_values_ratio_verdict_and_failures() -> None:
    run = run_of(
        sample("direct", bulk_up=30),
        sample("haproxy", bulk_up=10),
        sample("backhaul/tcp", bulk_up=15),
        failures=["backhaul/ws: not built"],
    )
    written = page.markdown(run)
    assert "| bulk up, 1 stream, Gbit/s | 30 | 10 | 15 | 1.50x | ≥ 1.4x | met |" in written
    assert "- backhaul/ws: not built" in written


def test_peer_gets_columns_of_its_own() -> None:
    run = run_of(*[sample(r, bulk_up=v) for r, v in [("haproxy", 10), ("backhaul/tcp", 15), ("peer/tcp", 5)]])
    assert "| bulk up, 1 stream, Gbit/s | - | 10 | 15 | 1.50x | 5 | 3.00x | ≥ 1.4x | met |" in page.markdown(run)


def test_peers_stand_in_the_order_in_which_they_were_given() -> None:
    run = run_of(
        *[sample(route, bulk_up=1) for route in ("frp/tcp", "v072/tcp", "rathole tls/tcp", "rathole/tcp", "frp/ws")]
    )
    run.peers = {"v072": "v0.7.2", "rathole": "0.5.0", "frp": "0.70.1"}
    assert run.programs("tcp") == ["backhaul", "v072", "rathole tls", "rathole", "frp"]
    assert "| rathole tls | to rathole tls | rathole | to rathole |" in page.markdown(run)
    assert "- rathole: 0.5.0" in page.markdown(run)


def test_chart_turns_latency_so_that_longer_is_better() -> None:
    run = run_of(sample("haproxy", echo_p50=100), sample("backhaul/tcp", echo_p50=50))
    assert ">2.00</text>" in chart.svg(run)


def test_stored_run_is_read_back(tmp_path: Path) -> None:
    run = run_of(sample("direct", bulk_up=30))
    run.save(tmp_path / "run.json")
    assert results.load(tmp_path / "run.json") == run


def test_the_documentation_has_the_report_of_the_stored_run() -> None:
    run = results.load(DOCS / "benchmarks.json")
    assert page.markdown(run, "benchmarks.svg") in (DOCS / "benchmarks.md").read_text()
    assert chart.svg(run) == (DOCS / "benchmarks.svg").read_text()


AB_REPORT = """\
Complete requests:      100
Failed requests:        12
   (Connect: 0, Receive: 4, Length: 4, Exceptions: 4)
Requests per second:    5551.25 [#/sec] (mean)
"""


def test_ab_report() -> None:
    assert ab_figure(AB_REPORT, "Requests per second") == 5551.25
    assert ab_failures(AB_REPORT) == 4
    assert ab_failures("Failed requests:        0\n") == 0


def test_missing_ab_figure_is_named() -> None:
    with pytest.raises(BenchError, match="Requests per second"):
        ab_figure("", "Requests per second")


def test_ab_percentile() -> None:
    assert ab_percentile("Percentage served,Time in ms\n0,0.1\n99,1.971\n", 99) == 1.971


def test_rate_of_datagrams_is_that_of_their_arrival() -> None:
    assert Delivery(sent=2000, received=1000, seconds=0.5).mbit_per_second == 19.2
    assert Delivery(sent=1, received=0, seconds=0.0).mbit_per_second == 0


def test_repeated_datagram_counts_once_and_a_new_run_starts_again() -> None:
    tally = Tally()
    for run, number in [(7, 0), (7, 1), (7, 1), (8, 5)]:
        tally.add(bytearray(DATAGRAM.pack(run, number)))
        if number == 1:
            assert ANSWER.unpack(tally.answer())[:2] == (7, 2)
    assert ANSWER.unpack(tally.answer())[:2] == (8, 1)


def test_best_quartile_and_median_of_many_rounds() -> None:
    rates, times = repeats.METRICS["user_rate"], repeats.METRICS["user_server_cpu"]
    assert repeats.summary([5, 1, 2, 4, 3], rates) == [5, 4, 3]
    assert repeats.summary([5, 1, 2, 4, 3], times) == [1, 2, 3]
    assert repeats.summary([7], times) == [7, 7, 7]
    assert repeats.summary([], times) == []


def rounds_of_connections(route: str, server: float) -> list[Sample]:
    costs = {"user_server_cpu": server, "user_client_cpu": 20.0, "user_failures": 1.0}
    warm_up = Sample(route, 0, 0.0, False, {**costs, "user_rate": 9e9})
    return [warm_up, *(Sample(route, 1, 0.0, True, {**costs, "user_rate": rate}) for rate in (300.0, 100.0, 200.0))]


def test_report_of_repeated_connections() -> None:
    run = run_of(
        *rounds_of_connections("haproxy", 5.0),
        *rounds_of_connections("backhaul/tcp", 10.0),
        *rounds_of_connections("v072/tcp", 8.0),
    )
    run.scenario = results.CONNECTIONS
    written = render.markdown(run)
    assert "| backhaul | 10 / 10 / 10 | 20 / 20 / 20 | 300 / 300 / 200 | 3 |" in written
    assert "| to v072 | 1.250x / 1.250x / 1.250x | 1.000x / 1.000x / 1.000x | 1.000x / 1.000x / 1.000x |  |" in written
    assert "| to haproxy | 2.000x / 2.000x / 2.000x |" in written


def test_cpu_time_of_a_process_is_exact() -> None:
    earliest = time.process_time()
    spent = cpu_seconds([os.getpid()])
    assert earliest <= spent <= time.process_time()


def test_cpu_time_of_a_process_that_is_gone_is_none() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert cpu_seconds([process.pid]) == 0
