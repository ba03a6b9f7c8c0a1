import msgspec
import pytest
from tests.monitor.sample import Tunnel

from backhaul.monitor import legacy
from backhaul.monitor.machine import Machine
from backhaul.monitor.sampler import Sampler, Traffic

MACHINE = Machine(
    cpu=7.125,
    memory_used=1 << 30,
    memory_total=4 << 30,
    swap_used=0,
    swap_total=0,
    disk_used=5 << 40,
    disk_total=8 << 40,
    received=1536,
    sent=512,
    sockets=42,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (1536, "1.50 KB"),
        (1024**2 - 1, "1024.00 KB"),
        (1024**2, "1.00 MB"),
        (1325400064, "1.23 GB"),
        (1024**4, "1.00 TB"),
        (1024**5, "1024.00 TB"),
    ],
)
def test_sizes_as_v072_writes_them(number: int, text: str) -> None:
    assert legacy.size(number) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0.00 B/s"), (999.4, "999.40 B/s"), (1000, "1.00 KB/s"), (2.5e6, "2.50 MB/s"), (1e12, "1000.00 GB/s")],
)
def test_speeds_as_v072_writes_them(rate: float, text: str) -> None:
    assert legacy.speed(rate) == text


def test_stats_have_v072s_fields_and_units() -> None:
    tunnel = Tunnel()
    sampler = Sampler(tunnel.read, lambda: MACHINE)
    sampler.machine_rate = Traffic(2_500_000, 1500)
    stats = legacy.stats(tunnel.read(), {443: 1000, 80: 24}, sampler, sniffer=True)
    assert msgspec.to_builtins(stats) == {
        "tunnelStatus": "Connected (tcpmux)",
        "cpuUsage": "7.12%",
        "ramUsage": "1.00 GB",
        "diskUsage": "5.00 TB",
        "swapUsage": "0 B",
        "networkTraffic": "2.00 KB",
        "uploadSpeed": "1.50 KB/s",
        "downloadSpeed": "2.50 MB/s",
        "backhaulTraffic": "1.00 KB",
        "sniffer": "Running",
        "allConnections": "42",
    }


def test_stats_of_a_lost_tunnel() -> None:
    tunnel = Tunnel()
    tunnel.say(connected=False)
    stats = legacy.stats(tunnel.read(), {}, Sampler(tunnel.read, lambda: MACHINE), sniffer=False)
    assert (stats.tunnel_status, stats.sniffer) == ("Disconnected (tcpmux)", "Not running")


def test_data_is_sorted_by_port() -> None:
    data = msgspec.to_builtins(legacy.ports({8080: 2048, 443: 5}))
    assert data == [{"Port": 443, "ReadableUsage": "5 B"}, {"Port": 8080, "ReadableUsage": "2.00 KB"}]
