"""A route, as the loads know it."""

from typing import NamedTuple

from bench.processes import Program

Ports = dict[str, int]  # service -> port


class Route(NamedTuple):
    """A started way to the backends."""

    name: str
    ports: Ports  # port of each service for users: iperf, http, echo, sink, source
    hops: tuple[Program, ...]  # none, or the server's side and the client's side
    loads: tuple[str, ...]  # kinds of traffic to measure: "streams", "bulk", "datagrams", "stall"
