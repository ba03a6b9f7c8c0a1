"""The measurements on byte-stream routes; each returns metric -> value for one route."""

import socket
import statistics
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NamedTuple

import msgspec

from bench.loads.route import Route
from bench.machine import cpu_seconds, memory_bytes
from bench.processes import LOOPBACK, BenchError, connect, run_tool

Values = dict[str, float]

GB = 1e9
WARM_UP_CONNECTIONS = 100
MESSAGE = bytes(range(64))
SETTLE_SECONDS = 0.5  # lets freed buffers return and pools refill before memory is read


class Effort(NamedTuple):
    """The effort of each measurement."""

    bulk_seconds: int = 2
    requests: int = 6000
    echoes: int = 3000
    idle_connections: int = 3000
    datagram_seconds: float = 0.5
    player_seconds: float = 3.0
    streams: int = 1000
    stream_seconds: float = 2.0
    rest_seconds: float = 1.0


QUICK = Effort(1, 2000, 1000, 1000, 0.2, 1.0, 300, 1.0)


class _Sum(msgspec.Struct):
    bytes: int
    bits_per_second: float


class _End(msgspec.Struct):
    sum_received: _Sum | None = None


class _Iperf3Output(msgspec.Struct):
    end: _End
    error: str = "no result"


def _iperf3(route: Route, seconds: int, *options: str) -> _Sum:
    """Run iperf3, twice if needed: after a test its server listens anew, and refuses connections in between."""
    try:
        return _iperf3_once(route, seconds, *options)
    except BenchError:
        time.sleep(SETTLE_SECONDS)
        return _iperf3_once(route, seconds, *options)


def _iperf3_once(route: Route, seconds: int, *options: str) -> _Sum:
    port = str(route.ports["iperf"])
    output = run_tool("iperf3", "-J", "-c", LOOPBACK, "-p", port, "-t", str(seconds), *options, timeout=seconds + 15)
    result = msgspec.json.decode(output, type=_Iperf3Output)
    if result.end.sum_received is None:
        raise BenchError(f"iperf3: {result.error}")
    return result.end.sum_received


def bulk(route: Route, effort: Effort) -> Values:
    """Measure throughput with one stream up, one down and eight up, and the CPU time of the hops per GB over all."""
    pids = [hop.pid for hop in route.hops]
    before = cpu_seconds(pids)
    sums = {
        "bulk_up": _iperf3(route, effort.bulk_seconds),
        "bulk_down": _iperf3(route, effort.bulk_seconds, "-R"),
        "bulk_8": _iperf3(route, effort.bulk_seconds, "-P", "8"),
    }
    spent = cpu_seconds(pids) - before
    values = {metric: received.bits_per_second / 1e9 for metric, received in sums.items()}
    if pids:
        values["cpu_per_gb"] = spent / (sum(received.bytes for received in sums.values()) / GB)
    return values


def echo(route: Route, effort: Effort) -> Values:
    """Measure the round-trip time of 64 bytes on one established connection."""
    with connect(route.ports["echo"]) as sock:
        for _ in range(100):
            _round_trip(sock)
        p50, p99 = percentiles(_round_trip(sock) for _ in range(effort.echoes))
    return {"echo_p50": p50, "echo_p99": p99}


def percentiles(values: Iterable[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile of at least two values."""
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


def _round_trip(sock: socket.socket) -> float:
    """Return the microseconds until the message is back."""
    start = time.perf_counter_ns()
    sock.sendall(MESSAGE)
    if sock.recv(len(MESSAGE), socket.MSG_WAITALL) != MESSAGE:
        raise BenchError("the echo came back damaged or not at all")
    return (time.perf_counter_ns() - start) / 1000


def idle_memory(route: Route, effort: Effort) -> Values:
    """Measure the memory of one more idle connection at each end of the tunnel."""
    if not route.hops:
        return {}
    with ExitStack() as held:
        _hold_connections(held, route, WARM_UP_CONNECTIONS)
        before = [memory_bytes(hop.pid) for hop in route.hops]
        _hold_connections(held, route, effort.idle_connections)
        after = [memory_bytes(hop.pid) for hop in route.hops]
    cost = [(a - b) / effort.idle_connections for b, a in zip(before, after, strict=True)]
    return dict(zip(("server_bytes", "client_bytes"), cost, strict=True))


def _hold_connections(held: ExitStack, route: Route, count: int) -> None:
    for _ in range(count):
        # The echo proves that the connection has reached the backend, so both ends of the tunnel hold it.
        _round_trip(held.enter_context(connect(route.ports["echo"])))
    time.sleep(SETTLE_SECONDS)
