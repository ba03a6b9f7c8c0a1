"""Users who are connected and idle, and the costs of the tunnel beside them."""

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

from bench.loads.measure import MESSAGE, Effort, Values
from bench.loads.route import Route
from bench.loads.users import cost
from bench.machine import cpu_seconds, open_files
from bench.processes import LOOPBACK, BenchError

TOGETHER = 50  # users who connect at a time
PER_ADDRESS = 10_000  # users with one source address, of which each has less than 65 536 ports
PATIENCE = 20.0  # seconds for one step of one user
IP_BIND_ADDRESS_NO_PORT = 24  # ip(7): leave the choice of the port to connect(), which knows the destination
CONCURRENCY = 100


class Crowd:
    """Connected users, spread over ports, with several source addresses of the loopback network."""

    def __init__(self, held: ExitStack, ports: Sequence[int]) -> None:
        self._held = held
        self._ports = ports
        self._socks: list[socket.socket] = []

    def gather(self, count: int) -> None:
        """Connect this many users, each of whom gets an answer from the backend."""
        for first in range(0, count, TOGETHER):
            arrived = [self._connect(number) for number in range(first, min(first + TOGETHER, count))]
            _exchange(arrived)
            self._socks += arrived

    def _connect(self, number: int) -> socket.socket:
        sock = self._held.enter_context(socket.socket())
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
        sock.connect((LOOPBACK, self._ports[number % len(self._ports)]))
        return sock

    def check(self) -> None:
        """Raise BenchError unless every user still gets answers."""
        for first in range(0, len(self._socks), TOGETHER):
            _exchange(self._socks[first : first + TOGETHER])


def _exchange(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.sendall(MESSAGE)
    for sock in socks:
        if sock.recv(len(MESSAGE), socket.MSG_WAITALL) != MESSAGE:
            raise BenchError("an idle user was disconnected")


def rest(route: Route, effort: Effort) -> Values:
    """Measure the CPU time (ms) that both ends spend in a second without traffic, and their open files."""
    pids = [hop.pid for hop in route.hops]
    before = cpu_seconds(pids)
    time.sleep(effort.rest_seconds)
    spent = (cpu_seconds(pids) - before) * 1000 / effort.rest_seconds
    server, client = map(open_files, pids)
    return {"idle_cpu": spent, "server_files": server, "client_files": client}


def arrivals(route: Route, effort: Effort) -> Values:
    """Measure the CPU time (ms) that both ends spend on a new connection, and the connections per second."""
    values = cost(route, effort.requests, CONCURRENCY)
    if values["user_failures"]:
        raise BenchError(f"{values['user_failures']:.0f} requests failed")
    spent = (values["user_server_cpu"] + values["user_client_cpu"]) / 1000
    return {"connection_cpu": spent, "user_rate": values["user_rate"]}
