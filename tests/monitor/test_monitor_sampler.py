from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.sample import Tunnel, port

from backhaul.monitor.machine import Machine, measure
from backhaul.monitor.sampler import HISTORY, Sampler, Traffic

IDLE = Machine(
    cpu=0.0,
    memory_used=1,
    memory_total=2,
    swap_used=0,
    swap_total=0,
    disk_used=1,
    disk_total=2,
    received=0,
    sent=0,
    sockets=3,
)


class Scene:
    """A tunnel, a machine and a clock that the test moves."""

    def __init__(self) -> None:
        self.tunnel = Tunnel(port(80))
        self.machine = IDLE
        self.now = 100.0
        self.sampler = Sampler(self.tunnel.read, lambda: self.machine, lambda: self.now)

    def pass_time(self, seconds: float, *ports: tuple[int, int]) -> None:
        """Let time pass and the ports' totals of received and sent bytes become these; then look."""
        self.now += seconds
        self.tunnel.say(ports=tuple(port(80 + i, received=r, sent=s) for i, (r, s) in enumerate(ports)))
        self.sampler.tick()


def test_rates_are_of_all_ports_and_by_the_second() -> None:
    scene = Scene()
    scene.pass_time(2, (10, 100), (20, 300))
    assert list(scene.sampler.history) == [Traffic(15, 200)]


def test_a_port_taken_away_is_no_negative_rate() -> None:
    scene = Scene()
    scene.pass_time(1, (10, 10), (20, 20))
    scene.pass_time(1, (11, 10))
    assert scene.sampler.history[-1] == Traffic(0, 0)


def test_a_clock_that_stands_still_divides_nothing() -> None:
    scene = Scene()
    scene.pass_time(0, (10, 10))
    assert not scene.sampler.history


def test_five_minutes_are_kept() -> None:
    scene = Scene()
    for second in range(1, HISTORY + 11):
        scene.pass_time(1, (second * second, 0))
    assert len(scene.sampler.history) == HISTORY == 300
    assert scene.sampler.history[0] == Traffic(21, 0)  # 11² - 10²


def test_the_machine_is_measured_too() -> None:
    scene = Scene()
    scene.machine = replace(IDLE, received=4000, sent=2000, cpu=12.5)
    scene.pass_time(4)
    assert scene.sampler.machine_rate == Traffic(1000, 500)
    assert scene.sampler.machine.cpu == 12.5


@given(st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)), max_size=20))
def test_rates_are_never_negative(totals: list[tuple[int, int]]) -> None:
    scene = Scene()
    for total in totals:
        scene.pass_time(1, total)
    assert all(rate.received >= 0 and rate.sent >= 0 for rate in scene.sampler.history)


def test_this_machine_has_figures() -> None:
    measure()
    machine = measure()
    assert 0 <= machine.cpu <= 100
    assert 0 < machine.memory_used < machine.memory_total
    assert 0 < machine.disk_used < machine.disk_total
    assert 0 <= machine.swap_used <= machine.swap_total
    assert machine.received >= 0
    assert machine.sockets > 0


def test_a_hidden_socket_count_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.monitor.machine.SOCKETS", "/nonexistent")
    assert measure().sockets == 0
