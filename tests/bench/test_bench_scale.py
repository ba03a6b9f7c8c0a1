"""Costs beside idle users: the shapes that fit, the report and the chart."""

import socket
from pathlib import Path

import pytest
from bench.machine import listening_ports
from bench.options import parse_arguments, sizes
from bench.processes import reserved_ports
from bench.report import render, scale
from bench.report.results import SCALE, Run, Sample, Shape, load
from bench.report.scale_chart import Axis
from bench.scenarios.dialects import backhaul
from bench.scenarios.dialects.wiring import Secrets, Wiring
from bench.scenarios.shapes import Room, Sizes, fit, shapes

DOCS = Path(__file__).parents[2] / "docs"
SIZES = Sizes([10, 1000], ports=100, sessions=20)


def run_of(*values: tuple[str, float]) -> Run:
    (_, reference), *others = values
    samples = []
    for shape, cost in others:
        for route, spent in ((f"10 users beside {shape}", reference), (shape, cost)):
            samples.append(Sample(f"backhaul/tcp, {route}", 1, 0.0, True, {"connection_cpu": spent}))
    run = Run("2026-01-01", {"cpu": "one"}, ["tcp"], 1, 0.02, samples, ["tcp, 9 users: no room"], scenario=SCALE)
    run.shapes = {"tcp": [Shape(10), Shape(1000), Shape(100, ports=100)]}
    return run


def test_many_sessions_are_a_shape_of_multiplexed_transports_alone() -> None:
    alone = [Shape(10), Shape(1000), Shape(100, ports=100)]
    assert shapes("ws", SIZES) == alone
    assert shapes("wsmux", SIZES) == [*alone, Shape(100, sessions=20)]


def test_ports_and_sessions_can_be_left_out() -> None:
    assert shapes("tcpmux", Sizes([5], ports=0, sessions=0)) == [Shape(5)]


def test_shapes_without_room_become_one_that_fits() -> None:
    wanted = [Shape(10), Shape(1000), Shape(3000), Shape(1000, ports=1000)]
    assert fit(wanted, 900) == [Shape(10), Shape(900), Shape(900, ports=1000)]


@pytest.mark.parametrize(
    ("room", "variant", "most"),
    [
        (Room(files=21_000, local_ports=60_000), "tcp", 10_000),
        (Room(files=19_000, local_ports=60_000), "tcpmux", 16_000),
        (Room(files=100_000, local_ports=28_232), "ws", 24_232),
    ],
)
def test_room_is_bounded_by_open_files_and_local_ports(room: Room, variant: str, most: int) -> None:
    assert room.users(variant) == most


def test_sizes_are_selectable() -> None:
    options = parse_arguments(["--scale", "--idle", "10,200", "--ports", "20", "--sessions", "0"])
    assert sizes(options) == Sizes([10, 200], 20, 0)
    assert options.transport == ["tcp", "tcpmux", "ws"]


def test_transports_without_streams_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--scale", "--transport", "udp"])
    assert "expected transports that carry streams, such as tcp, got 'udp'" in capsys.readouterr().err


def test_sessions_are_opened_by_the_pool_of_the_client() -> None:
    secrets = Secrets(Path("/x/crt"), Path("/x/key"), Path("/x/pfx"), "private", "public")
    files = backhaul.modes("tcpmux")[""](Wiring(7000, {"echo": 1}, {"echo": 2}, "tcp", secrets, pool=200))
    assert "connection_pool = 200\n" in files.client
    assert "connection_pool" not in files.server


def test_reserved_ports_are_different_and_can_be_listened_on() -> None:
    with reserved_ports(500) as ports:
        assert len(set(ports)) == 500
        with socket.create_server(("127.0.0.1", ports[0])):
            assert ports[0] in listening_ports()
    assert ports[0] not in listening_ports()


def test_reserved_ports_are_taken_for_others() -> None:
    with reserved_ports(1) as [port], socket.socket() as sock, pytest.raises(OSError, match="in use"):
        sock.bind(("127.0.0.1", port))


def test_report_marks_what_is_not_flat() -> None:
    written = render.markdown(run_of(("10 users", 0.2), ("1 000 users", 0.232), ("100 users on 100 ports", 0.22)))
    assert "| 10 users | 0.2 (1.00x) |" in written
    assert "| 1 000 users | 0.232 (**1.16x**) |" in written
    assert "| 100 users on 100 ports | 0.22 (1.10x) |" in written
    assert "- tcp, 9 users: no room" in written


@pytest.mark.parametrize(
    ("metric", "change", "flat"),
    [
        ("connection_cpu", 1.15, True),
        ("connection_cpu", 1.16, False),
        ("user_rate", 0.87, True),
        ("user_rate", 0.86, False),
    ],
)
def test_a_higher_cost_and_a_lower_rate_are_not_flat(metric: str, change: float, flat: bool) -> None:  # noqa: FBT001
    assert scale.is_flat(metric, change) is flat


def test_a_shape_that_was_not_measured_is_a_dash() -> None:
    written = render.markdown(run_of(("10 users", 0.2), ("1 000 users", 0.2)))
    assert "| 100 users on 100 ports | - (-) |" in written


def test_a_shape_is_compared_with_the_first_one_at_the_same_time() -> None:
    run = run_of(("10 users", 0.2), ("1 000 users", 0.3), ("100 users on 100 ports", 0.3))
    slow = Sample("backhaul/tcp, 10 users beside 1 000 users", 1, 0.0, True, {"connection_cpu": 0.3})
    run.samples[0] = slow
    series = scale.Series(run, "backhaul", "tcp")
    assert [series.ratio(shape, "connection_cpu") for shape in series.shapes] == pytest.approx([1, 1, 1.5])
    assert series.value(Shape(10), "connection_cpu") == 0.2


def test_chart_has_users_in_proportion_and_the_other_shapes_beside_them() -> None:
    axis = Axis([Shape(10), Shape(100), Shape(1000), Shape(9, ports=9), Shape(5, sessions=4), Shape(10)])
    low, middle, high = (axis.x(Shape(users)) for users in axis.users)
    assert middle - low == pytest.approx(high - middle)
    assert axis.ticks() == [10, 100, 1000]
    assert axis.columns == ["9 ports", "4 sessions"]
    assert high < axis.x(Shape(9, ports=9)) < axis.x(Shape(5, sessions=4))


def test_chart_draws_every_measured_shape() -> None:
    drawn = render.svg(run_of(("10 users", 0.2), ("1 000 users", 0.232), ("100 users on 100 ports", 0.22)))
    assert drawn.count("<circle") == 3
    assert ">100 ports</text>" in drawn


def test_the_documentation_has_the_report_of_the_stored_run() -> None:
    run = load(DOCS / "benchmarks-scale.json")
    assert render.markdown(run, "benchmarks-scale.svg") in (DOCS / "benchmarks.md").read_text()
    assert render.svg(run) == (DOCS / "benchmarks-scale.svg").read_text()
