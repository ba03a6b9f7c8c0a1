"""Many streams on one tunnel while one user does not read."""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from bench.loads.measure import Effort, Values, percentiles
from bench.loads.route import Route
from bench.processes import LOOPBACK, BenchError, connect

MESSAGE = bytes(16384)
SEND_BUFFER = 128 * 1024  # bytes; a whole message always fits, so the sender never waits
STALL_SECONDS = 1.0  # ample time for the source to fill every buffer up to the user who does not read


def stalled_reader(route: Route, effort: Effort) -> Values:
    """Measure rate (Mbit/s) and p99 (ms) of echoes on all streams, without and with a stalled reader among them."""
    with _open(route, effort.streams) as streams:
        free = _Exchange(streams).run(effort.stream_seconds)
    half = effort.streams // 2
    # In the middle, so that the stalled stream shares its session with others in any distribution.
    with _open(route, half) as early, _stalled(route), _open(route, effort.streams - half) as late:
        time.sleep(STALL_SECONDS)
        beside = _Exchange([*early, *late]).run(effort.stream_seconds)
    return {
        "free_rate": free.rate,
        "free_p99": free.p99,
        "stalled_rate": beside.rate,
        "stalled_p99": beside.p99,
        "stalled_progress": beside.moving,
    }


@contextmanager
def _open(route: Route, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as held:
        streams = [held.enter_context(connect(route.ports["echo"])) for _ in range(count)]
        for stream in streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        yield streams


@contextmanager
def _stalled(route: Route) -> Iterator[None]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        sock.connect((LOOPBACK, route.ports["source"]))
        yield


class Traffic(NamedTuple):
    """The results of all streams together."""

    rate: float  # Mbit/s, both directions together
    p99: float  # ms for one message and back
    moving: float  # percentage of streams that got at least one answer


class _Exchange:
    """Each stream sends a message, waits until it is back, and sends the next."""

    def __init__(self, streams: list[socket.socket]) -> None:
        self._streams = {stream.fileno(): stream for stream in streams}
        self._missing = dict.fromkeys(self._streams, 0)  # bytes of the answer that have not arrived
        self._since = dict.fromkeys(self._streams, 0.0)
        self._moving: set[int] = set()
        self._times: list[float] = []  # milliseconds

    def _send(self, descriptor: int) -> None:
        self._missing[descriptor] = len(MESSAGE)
        self._since[descriptor] = time.perf_counter()
        self._streams[descriptor].sendall(MESSAGE)

    def _receive(self, descriptor: int) -> None:
        data = self._streams[descriptor].recv(len(MESSAGE))
        if not data:
            raise BenchError("a stream ended early")
        self._missing[descriptor] -= len(data)
        if self._missing[descriptor] == 0:
            self._times.append((time.perf_counter() - self._since[descriptor]) * 1000)
            self._moving.add(descriptor)
            self._send(descriptor)

    def run(self, seconds: float) -> Traffic:
        deadline = time.monotonic() + seconds
        with select.epoll() as poll:
            for descriptor in self._streams:
                poll.register(descriptor, select.EPOLLIN)
                self._send(descriptor)
            while (left := deadline - time.monotonic()) > 0:
                for descriptor, _ in poll.poll(left):
                    self._receive(descriptor)
        return self._traffic(seconds)

    def _traffic(self, seconds: float) -> Traffic:
        if len(self._times) < 2:
            raise BenchError("the streams did not move")
        rate = len(self._times) * len(MESSAGE) * 2 * 8 / seconds / 1e6
        return Traffic(rate, percentiles(self._times)[1], 100 * len(self._moving) / len(self._streams))
