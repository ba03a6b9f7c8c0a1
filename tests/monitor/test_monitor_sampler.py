import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.monitor.sample import Tunnel, port

from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import HISTORY, Sampler
from backhaul.monitor.traffic import Machine, Network, Share, Traffic

IDLE = Machine(
    cpu=0.0,
    memory=Share(1, 2),
    swap=Share(0, 0),
    disk=Share(1, 2),
    network=Network(0, 0),
    sockets=3,
)


class Scene:
    """A tunnel, a machine and a clock that the test moves."""

    def __init__(self) -> None:
        self.tunnel = Tunnel(port(80))
        self.machine = IDLE
        self.now = 100.0
        self.sampler = Sampler(self.tunnel.totals, lambda: self.machine, lambda: self.now)

    def pass_time(self, seconds: float, *ports: tuple[int, int]) -> None:
        """Let time pass, set the ports' totals of received and sent bytes, and take a sample."""
        self.now += seconds
        self.tunnel.say(ports=tuple(port(80 + i, received=r, sent=s) for i, (r, s) in enumerate(ports)))
        self.sampler.tick()


def test_rates_cover_all_ports_and_are_per_second() -> None:
    scene = Scene()
    scene.pass_time(2, (10, 100), (20, 300))
    assert list(scene.sampler.history) == [Traffic(15, 200)]


def test_a_removed_port_makes_no_negative_rate() -> None:
    scene = Scene()
    scene.pass_time(1, (10, 10), (20, 20))
    scene.pass_time(1, (11, 10))
    assert scene.sampler.history[-1] == Traffic(0, 0)


def test_a_clock_that_does_not_advance_causes_no_division() -> None:
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
    scene.machine = replace(IDLE, network=Network(4000, 2000), cpu=12.5)
    scene.pass_time(4)
    assert scene.sampler.machine_rate == Traffic(1000, 500)
    assert scene.sampler.machine.cpu == 12.5


@given(st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)), max_size=20))
def test_rates_are_never_negative(totals: list[tuple[int, int]]) -> None:
    scene = Scene()
    for total in totals:
        scene.pass_time(1, total)
    assert all(rate.received >= 0 and rate.sent >= 0 for rate in scene.sampler.history)


@pytest.mark.parametrize("hidden", [0, 1])
def test_a_network_that_is_not_counted_has_no_rate(hidden: int) -> None:
    scene = Scene()
    for step in range(2):
        scene.machine = replace(IDLE, network=None if step == hidden else Network(4000, 2000))
        scene.pass_time(4)
    assert scene.sampler.machine_rate is None


def test_this_machine_has_figures() -> None:
    measure()
    with socket.socket():  # the only one of an empty namespace
        machine = measure()
    assert machine.cpu is not None
    assert 0 <= machine.cpu <= 100
    assert machine.memory
    assert 0 < machine.memory.used < machine.memory.total
    assert machine.disk
    assert 0 < machine.disk.used < machine.disk.total
    assert machine.swap
    assert 0 <= machine.swap.used <= machine.swap.total
    assert machine.network
    assert machine.sockets


HIDDEN_PROC = """
mount -t proc -o subset=pid proc /proc || exit 77
exec "$0" -c '
from backhaul.monitor.machine import measure
from backhaul.monitor.sampler import Sampler
from backhaul.monitor import legacy
from backhaul.monitor.exposition import PROMETHEUS
from backhaul.monitor.prometheus import Figures, slices
from tests.monitor.sample import Tunnel
tunnel = Tunnel()
sampler = Sampler(tunnel.totals, measure)
sampler.tick()
assert b"".join(slices(PROMETHEUS, Figures(tunnel.read(), {}, iter(()), {})))
print(sampler.machine, legacy.stats(tunnel.read(), {}, sampler, sniffer=False))
'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_machine_that_hides_its_figures_is_no_failure() -> None:
    """/proc shows processes alone, as in containers and services (proc(5), subset=pid)."""
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", HIDDEN_PROC, sys.executable]
    looked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if looked.returncode == 77:
        pytest.skip("this kernel has no subset=pid")
    assert looked.returncode == 0, looked.stderr
    assert not looked.stderr
    assert "memory=None" in looked.stdout
    assert "ram_usage='-'" in looked.stdout
