"""The metrics and, in one table, the targets of each transport."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

HAPROXY = "haproxy"
DIRECT = "direct"
OURS = "backhaul"


class Metric(NamedTuple):
    """A quantity: its name and unit, and the rule for choosing among the values of several rounds."""

    title: str
    unit: str
    higher_is_better: bool
    worst: bool = False  # report the worst round: a good round must not hide a failure

    def pick(self, values: Iterable[float]) -> float:
        """Choose the value of the round that neighbours on the machine disturbed least."""
        choose: Callable[[Iterable[float]], float] = max if self.higher_is_better != self.worst else min
        return choose(values)


METRICS = {
    "bulk_up": Metric("bulk up, 1 stream", "Gbit/s", higher_is_better=True),
    "bulk_down": Metric("bulk down, 1 stream", "Gbit/s", higher_is_better=True),
    "bulk_8": Metric("bulk up, 8 streams", "Gbit/s", higher_is_better=True),
    "cpu_per_gb": Metric("CPU time of both hops", "s/GB", higher_is_better=False),
    "connections_10": Metric("new connections, 10 at a time", "1/s", higher_is_better=True),
    "connections_100": Metric("new connections, 100 at a time", "1/s", higher_is_better=True),
    "connections_500": Metric("new connections, 500 at a time", "1/s", higher_is_better=True),
    "connect_p99": Metric("request p99, 10 at a time", "ms", higher_is_better=False),
    "failed_requests": Metric("failed requests", "", higher_is_better=False, worst=True),
    "echo_p50": Metric("64-byte echo p50", "µs", higher_is_better=False),
    "echo_p99": Metric("64-byte echo p99", "µs", higher_is_better=False),
    "server_bytes": Metric("memory per idle connection, server", "bytes", higher_is_better=False),
    "client_bytes": Metric("memory per idle connection, client", "bytes", higher_is_better=False),
    "udp_delivered": Metric("1200-byte datagrams without loss", "Mbit/s", higher_is_better=True),
    "udp_loss_200": Metric("loss at 200 Mbit/s", "%", higher_is_better=False),
    "udp_echo_p50": Metric("64-byte datagram echo p50", "µs", higher_is_better=False),
    "players_p50": Metric("100 players, 64 datagrams/s each: round trip p50", "µs", higher_is_better=False),
    "players_p99": Metric("the same, p99", "µs", higher_is_better=False),
    "players_lost": Metric("the same, datagrams lost", "%", higher_is_better=False),
    "players_cpu": Metric("the same, CPU time of both hops for a round trip", "µs", higher_is_better=False),
    "stalled_progress": Metric("streams moving beside a stalled reader", "%", higher_is_better=True),
    "stalled_rate": Metric("1 000 streams beside a stalled reader", "Mbit/s", higher_is_better=True),
    "free_rate": Metric("1 000 streams, nobody stalled", "Mbit/s", higher_is_better=True),
    "stalled_p99": Metric("16 KiB echo p99 beside a stalled reader", "ms", higher_is_better=False),
    "free_p99": Metric("16 KiB echo p99, nobody stalled", "ms", higher_is_better=False),
}


class Target(NamedTuple):
    """A limit for one metric of one transport: a floor where higher is better, else a ceiling."""

    metric: str
    limit: float
    # The route (and metric, if another one) whose value the limit multiplies; without one it is absolute.
    reference: str | None = HAPROXY
    reference_metric: str | None = None

    def met_by(self, value: float) -> bool:
        """Return whether the value (or, with a reference, the ratio) is within the limit."""
        return value >= self.limit if METRICS[self.metric].higher_is_better else value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if METRICS[self.metric].higher_is_better else "≤"
        unit = METRICS[self.metric].unit
        if not self.reference:
            return f"{sign} {self.limit:g} {unit}".rstrip()
        return f"{sign} {self.limit:g}x" + ("" if self.reference == HAPROXY else f" of {self.reference}")


def _bulk(limit: float, reference: str = HAPROXY) -> list[Target]:
    return [Target(metric, limit, reference) for metric in ("bulk_up", "bulk_down", "bulk_8")]


def _idle_memory(limit: float) -> list[Target]:
    return [Target(metric, limit, reference=None) for metric in ("server_bytes", "client_bytes")]


def _datagrams(delivered: float) -> list[Target]:
    return [
        Target("udp_delivered", delivered, reference=None),
        Target("udp_loss_200", 0.1, reference=None),
        Target("udp_echo_p50", 1.2, reference=f"{OURS}/tcp", reference_metric="echo_p50"),
    ]


# Peers have these names if they are given as in the help of make. v0.7.2 has no encryption and runs in clear.
V072 = "v072"
RATHOLE = "rathole"


def _sealed_sessions() -> list[Target]:
    v072, rathole = f"{V072}/tcpmux sealed", f"{RATHOLE}/tcpmux sealed"
    return [
        *_bulk(0.78, f"{OURS}/tcpmux"), Target("cpu_per_gb", 1.35, f"{OURS}/tcpmux"),
        *_bulk(2, v072), Target("cpu_per_gb", 0.5, v072),
        *_bulk(4, rathole), Target("cpu_per_gb", 0.33, rathole), *_idle_memory(4 * KB),
    ]  # fmt: skip


KB = 1024
TARGETS: dict[str, list[Target]] = {
    "tcp": [
        *_bulk(1.4), Target("connections_100", 0.6), Target("connect_p99", 3), Target("echo_p50", 1.5),
        Target("cpu_per_gb", 0.5), *_idle_memory(4 * KB),
    ],
    "tcpmux": [*_bulk(1.0), Target("connections_100", 0.75), Target("echo_p50", 1.6), *_idle_memory(4 * KB)],
    "ws": [*_bulk(0.9), Target("connections_100", 0.5), *_idle_memory(4 * KB)],
    "wsmux": [*_bulk(1.0), Target("connections_100", 0.7), *_idle_memory(4 * KB)],
    "wss": [*_bulk(0.45), Target("connections_100", 1200, reference=None), *_idle_memory(64 * KB)],
    "wssmux": [*_bulk(0.45), Target("connections_100", 0.7), *_idle_memory(4 * KB)],
    "tcp sealed": [Target("connections_100", 1.1, f"{V072}/tcp sealed"), *_idle_memory(4 * KB)],
    "tcpmux sealed": _sealed_sessions(),
    "ws sealed": _idle_memory(4 * KB),
    "wsmux sealed": _idle_memory(4 * KB),
    "udp sealed": [Target("udp_delivered", 5, f"{V072}/udp sealed"), Target("udp_loss_200", 0.1, reference=None)],
    "tcp+sniffer": [Target("bulk_8", 0.98, reference=f"{OURS}/tcp")],  # counting costs less than 2 %
    "udp": _datagrams(700),
    "tcp+udp": _datagrams(1200),
    "tcpmux+udp": _datagrams(1200),
}  # fmt: skip
