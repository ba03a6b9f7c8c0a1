import msgspec
import pytest
from tests.monitor.sample import Tunnel

from backhaul.monitor import legacy
from backhaul.monitor.sampler import Sampler
from backhaul.monitor.traffic import Machine, Network, Share, Traffic

MACHINE = Machine(
    cpu=7.125,
    memory=Share(1 << 30, 4 << 30),
    swap=Share(0, 0),
    disk=Share(5 << 40, 8 << 40),
    network=Network(1536, 512),
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
    sampler = Sampler(tunnel.totals, lambda: MACHINE)
    sampler.machine_rate = Traffic(2_500_000, 1500)
    stats = legacy.stats(tunnel.read(), {443: 1000, 80: 24}, sampler, sniffer=True)
    assert msgspec.to_builtins(stats) == {
        "tunnelStatus": "Connected (TCPMux)",
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
    stats = legacy.stats(tunnel.read(), {}, Sampler(tunnel.totals, lambda: MACHINE), sniffer=False)
    assert (stats.tunnel_status, stats.sniffer) == ("Disconnected (TCPMux)", "Not running")


@pytest.mark.parametrize(("transport", "name"), [("tcp", "TCP"), ("udp", "UDP"), ("ws", "ws"), ("wssmux", "wssmux")])
def test_a_transport_is_named_as_v072_names_it(transport: str, name: str) -> None:
    """internal/server/transport: "Connected (TCP)", but the name in the file on the WebSocket transports."""
    tunnel = Tunnel()
    tunnel.say(transport=transport)
    stats = legacy.stats(tunnel.read(), {}, Sampler(tunnel.totals, lambda: MACHINE), sniffer=False)
    assert stats.tunnel_status == f"Connected ({name})"


def test_figures_hidden_by_the_machine_are_dashes() -> None:
    tunnel = Tunnel()
    hidden = Machine(None, None, None, None, None, None)
    stats = msgspec.to_builtins(legacy.stats(tunnel.read(), {}, Sampler(tunnel.totals, lambda: hidden), sniffer=False))
    assert {name for name, text in stats.items() if text == "-"} == {
        "cpuUsage",
        "ramUsage",
        "diskUsage",
        "swapUsage",
        "networkTraffic",
        "uploadSpeed",
        "downloadSpeed",
        "allConnections",
    }


def test_data_is_sorted_by_port_and_begins_with_those_in_use() -> None:
    data = msgspec.to_builtins(legacy.ports({80: 0, 8080: 2048, 443: 5}))
    assert data == [
        {"Port": 443, "ReadableUsage": "5 B"},
        {"Port": 8080, "ReadableUsage": "2.00 KB"},
        {"Port": 80, "ReadableUsage": "0 B"},
    ]
