"""What a load knows of the way it takes."""

from typing import NamedTuple

from bench.processes import Program

Ports = dict[str, int]  # service -> port


class Route(NamedTuple):
    """A started way to the backends."""

    name: str
    ports: Ports  # where users reach each service: iperf, http, echo, sink, source
    hops: tuple[Program, ...]  # nothing, or the server's side and the client's side
    loads: tuple[str, ...]  # kinds of traffic to measure: "streams", "bulk", "datagrams", "stall"
