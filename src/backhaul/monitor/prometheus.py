"""The metrics: those of v0.7.2 under the same names, and more."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from .status import PortStatus, Status

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_Rows = Iterable[tuple[tuple[str, ...], float]]  # values of the labels, and of the metric

# Name, help, field of Status; a field that is None is left out.
_TUNNEL_GAUGES: Final = (
    ("backhaul_tunnel_status", "1 while the tunnel is connected, else 0.", "connected"),
    ("backhaul_tunnel_rtt_seconds", "Round-trip time of the control channel.", "rtt"),
    ("backhaul_start_time_seconds", "Time of the program's start, since 1970.", "started"),
    ("backhaul_idle_pool_connections", "Tunnel connections that wait for a user.", "pool_idle"),
    ("backhaul_wanted_pool_connections", "Tunnel connections that the pool aims at.", "pool_size"),
    ("backhaul_sessions", "Multiplexed sessions open now.", "sessions"),
    ("backhaul_streams", "Streams open now on all sessions.", "streams"),
)
_TUNNEL_COUNTERS: Final = (
    ("backhaul_reconnects_total", "Reconnections of the lost tunnel.", "reconnects"),
    ("backhaul_unanswered_total", "Users who sent bytes and received none.", "unanswered"),
)

# Name, help, field of PortStatus.
_PORT_GAUGES: Final = (
    ("backhaul_open_connections", "Connections open now.", "open"),
    ("backhaul_open_udp_flows", "UDP flows open now.", "udp_flows"),
)
_PORT_COUNTERS: Final = (
    ("backhaul_connections_total", "Connections accepted.", "total"),
    ("backhaul_refused_connections_total", "Connections refused before they reached the tunnel.", "refused"),
    ("backhaul_dropped_connections_total", "Connections dropped because the tunnel or the target failed.", "dropped"),
    ("backhaul_target_refused_total", "Connections that the target reset before it had sent a byte.", "target_refused"),
    ("backhaul_received_bytes_total", "Bytes from users.", "received"),
    ("backhaul_sent_bytes_total", "Bytes to users.", "sent"),
    ("backhaul_dropped_udp_datagrams_total", "UDP datagrams dropped.", "udp_dropped"),
)


def render(status: Status, usage: dict[int, int]) -> bytes:
    """Return the metrics as text; ``usage`` is bytes per port. May run in a thread."""
    registry = CollectorRegistry()
    registry.register(_Tunnel(status, usage))
    ProcessCollector(registry=registry)  # memory, processor time and descriptors of the program
    return generate_latest(registry)


class _Tunnel(Collector):
    """One status as metrics; each has the labels ``transport`` and ``side``, as in v0.7.2."""

    def __init__(self, status: Status, usage: dict[int, int]) -> None:
        self._status = status
        self._usage = usage

    def collect(self) -> Iterator[Metric]:
        yield from (self._gauge(name, text, self._tunnel(key)) for name, text, key in _TUNNEL_GAUGES)
        yield from (self._counter(name, text, self._tunnel(key)) for name, text, key in _TUNNEL_COUNTERS)
        yield self._gauge("backhaul_build_info", "Always 1.", [((self._status.version,), 1)], "version")
        usage = [((str(port),), used) for port, used in self._usage.items()]
        yield self._gauge("backhaul_tunnel_usage", "Bytes of a port in both directions.", usage, "port")
        yield from (self._gauge(name, text, self._port(key), "port", "target") for name, text, key in _PORT_GAUGES)
        yield from (self._counter(name, text, self._port(key), "port", "target") for name, text, key in _PORT_COUNTERS)
        if self._status.side == "server":
            yield self._gauge("backhaul_port_up", "1 while the port takes users, else 0.", self._up(), "port", "bind")

    def _tunnel(self, key: str) -> _Rows:
        value = getattr(self._status, key)
        return [] if value is None else [((), value)]

    def _port(self, key: str) -> _Rows:
        # Two addresses may share a port and a target; a metric must have each set of labels only once.
        rows: Counter[tuple[str, ...]] = Counter()
        for port in self._status.ports:
            rows[_number(port), port.target] += getattr(port, key)
        return rows.items()

    def _up(self) -> _Rows:
        return [((_number(port), port.bind), port.up) for port in self._status.ports]

    def _gauge(self, name: str, text: str, rows: _Rows, *labels: str) -> Metric:
        return self._filled(GaugeMetricFamily(name, text, labels=("transport", "side", *labels)), rows)

    def _counter(self, name: str, text: str, rows: _Rows, *labels: str) -> Metric:
        return self._filled(CounterMetricFamily(name, text, labels=("transport", "side", *labels)), rows)

    def _filled(self, metric: GaugeMetricFamily | CounterMetricFamily, rows: _Rows) -> Metric:
        for values, value in rows:
            metric.add_metric((self._status.transport, self._status.side, *values), value)
        return metric


def _number(port: PortStatus) -> str:
    """Return the port, or the path of a Unix socket."""
    return str(port.port) if port.port or not port.bind else port.name
