"""Players of a game: many flows, each with a small datagram 64 times a second, which the service returns."""

import select
import socket
import struct
import time
from contextlib import ExitStack

from bench.loads.measure import Effort, Values, percentiles
from bench.loads.route import Route
from bench.machine import cpu_seconds
from bench.processes import LOOPBACK, BenchError

PLAYERS = 100
RATE = 64  # datagrams a second of each, as common servers of shooters ask for
SIZE = 100  # bytes
WAKE = 0.001  # seconds: the timeout of epoll is not finer
PATIENCE = 0.5  # seconds after the last datagram
SENT = struct.Struct("!d")  # the time on the clock of this process; the rest of the datagram is filler
ATTEMPTS = 5  # for the first datagram of a flow


class Crowd:
    """The players' sockets, by descriptor, and the times of the round trips so far."""

    def __init__(self, held: ExitStack, port: int) -> None:
        self._poll = held.enter_context(select.epoll())
        self._players = [held.enter_context(_arrived(port)) for _ in range(PLAYERS)]
        self._by_descriptor = {player.fileno(): player for player in self._players}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.EPOLLIN)
        self.sent = 0
        self.times: list[float] = []  # seconds

    def play(self, seconds: float) -> None:
        """Send at the rate, the players in turn, and take the answers."""
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            while start + self.sent / (PLAYERS * RATE) <= now:
                self._send()
            self._take(WAKE)

    def finish(self) -> None:
        """Take the answers that are still on the way."""
        end = time.perf_counter() + PATIENCE
        while len(self.times) < self.sent and time.perf_counter() < end:
            self._take(WAKE)

    def _send(self) -> None:
        player = self._players[self.sent % PLAYERS]
        player.send(SENT.pack(time.perf_counter()).ljust(SIZE, b"."))
        self.sent += 1

    def _take(self, timeout: float) -> None:
        for descriptor, _ in self._poll.poll(timeout):
            (sent,) = SENT.unpack_from(self._by_descriptor[descriptor].recv(SIZE))
            self.times.append(time.perf_counter() - sent)


def _arrived(port: int) -> socket.socket:
    """Return the socket of a player whose flow exists."""
    player = socket.socket(type=socket.SOCK_DGRAM)
    player.connect((LOOPBACK, port))
    player.settimeout(PATIENCE)
    for _ in range(ATTEMPTS):
        try:
            player.send(bytes(SIZE))
            player.recv(SIZE)
        except OSError:
            continue
        player.setblocking(True)  # only read when there is something to read
        return player
    player.close()
    raise BenchError("a player gets no answer")


def players(route: Route, effort: Effort) -> Values:
    """Measure round trips (µs), loss (%), and the CPU time of the hops for a round trip (µs)."""
    pids = [hop.pid for hop in route.hops]
    with ExitStack() as held:
        crowd = Crowd(held, route.ports["echo"])
        before = cpu_seconds(pids)
        crowd.play(effort.player_seconds)
        crowd.finish()
        spent = cpu_seconds(pids) - before
    p50, p99 = percentiles(crowd.times)
    values = {"players_p50": 1e6 * p50, "players_p99": 1e6 * p99}
    values["players_lost"] = 100 * (1 - len(crowd.times) / crowd.sent)
    if pids:
        values["players_cpu"] = 1e6 * spent / crowd.sent
    return values
