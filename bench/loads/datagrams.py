"""The measurements on datagram routes: the highest rate without loss, loss at a moderate rate, round trips."""

import itertools
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.loads.measure import MESSAGE, Effort, Values, percentiles
from bench.loads.route import Route
from bench.loads.services import ANSWER, DATAGRAM, DATAGRAM_SIZE, QUERY
from bench.processes import LOOPBACK, BenchError

RATES = (200, 300, 400, 500, 600, 700, 850, 1000, 1200, 1400, 1700, 2000, 2400)  # Mbit/s
ATTEMPTS = 2  # per rate: a single hiccup of the machine does not end the search
TICK = 0.001  # seconds between bursts; a busy machine does not keep shorter sleeps
QUERY_TIMEOUT = 0.5
QUERIES = 20
DRAIN_SECONDS = 0.1


class Delivery(NamedTuple):
    """The result of one run of datagrams."""

    sent: int
    received: int
    seconds: float  # from the first to the last arrival: a queue that delivers late lowers the rate

    @property
    def mbit_per_second(self) -> float:
        """The rate of arrival."""
        return self.received * DATAGRAM_SIZE * 8 / self.seconds / 1e6 if self.seconds else 0.0


def echo(route: Route, effort: Effort) -> Values:
    """Measure the round-trip time of 64 bytes (µs) on an existing flow."""
    return {"udp_echo_p50": _echo_p50(route, effort.echoes)}


def datagrams(route: Route, effort: Effort) -> Values:
    """Measure the highest rate without loss (Mbit/s), and the loss at 200 Mbit/s (%)."""
    values: Values = {}
    first = _blast(route, RATES[0], effort.datagram_seconds)
    values["udp_loss_200"] = 100 * (1 - first.received / first.sent)
    values["udp_delivered"] = max((d.mbit_per_second for d in _lossless(route, effort)), default=0.0)
    return values


def _lossless(route: Route, effort: Effort) -> Iterator[Delivery]:
    for rate in RATES:
        attempts = (_blast(route, rate, effort.datagram_seconds) for _ in range(ATTEMPTS))
        whole = next((delivery for delivery in attempts if delivery.received == delivery.sent), None)
        if whole is None:
            return
        yield whole


@contextmanager
def _connected(port: int, timeout: float) -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect((LOOPBACK, port))
        sock.settimeout(timeout)
        yield sock


def _blast(route: Route, rate: int, seconds: float) -> Delivery:
    """Send at the rate (Mbit/s), then ask the sink through the same flow for its count."""
    run = random.getrandbits(32)
    with _connected(route.ports["sink"], QUERY_TIMEOUT) as sock:
        _ask(sock)  # the flow exists before the first datagram that counts
        sent = _send_paced(sock, run, rate, seconds)
        return _settled(sock, run, sent)


def _send_paced(sock: socket.socket, run: int, rate: int, seconds: float) -> int:
    burst = max(1, round(rate * 1e6 / 8 / DATAGRAM_SIZE * TICK))
    datagram, sent = bytearray(DATAGRAM_SIZE), 0
    start = time.perf_counter()
    for tick in range(round(seconds / TICK)):
        for sent in range(tick * burst, (tick + 1) * burst):
            DATAGRAM.pack_into(datagram, 0, run, sent)
            sock.send(datagram)
        time.sleep(max(0.0, start + (tick + 1) * TICK - time.perf_counter()))
    return sent + 1


def _settled(sock: socket.socket, run: int, sent: int) -> Delivery:
    previous = -1
    while True:
        time.sleep(DRAIN_SECONDS)
        answered_run, received, seconds = _ask(sock)
        received *= answered_run == run
        if received in (previous, sent):
            return Delivery(sent, received, seconds)
        previous = received


def _ask(sock: socket.socket) -> tuple[int, int, float]:
    for _ in range(QUERIES):
        try:
            sock.send(QUERY)
            run, received, seconds = ANSWER.unpack(sock.recv(ANSWER.size))
        except OSError:
            continue
        return run, received, seconds
    raise BenchError("the datagram sink does not answer")


def _echo_p50(route: Route, count: int) -> float:
    with _connected(route.ports["echo"], 1.0) as sock:
        times = list(itertools.islice(_round_trips(sock), 100 + count))
    return percentiles(times[100:])[0]


def _round_trips(sock: socket.socket) -> Iterator[float]:
    while True:
        start = time.perf_counter_ns()
        sock.send(MESSAGE)
        try:
            sock.recv(len(MESSAGE))
        except TimeoutError:
            raise BenchError("a datagram of the echo was lost") from None
        yield (time.perf_counter_ns() - start) / 1000
