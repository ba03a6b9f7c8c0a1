"""The compared ways from a user to a backend: direct, two HAProxy hops, a tunnel."""

from typing import NamedTuple

from bench.loads.route import Ports, Route
from bench.machine import listening_ports
from bench.processes import (
    LOOPBACK,
    Program,
    Programs,
    accepts,
    answers_datagram,
    echoes,
    find_tool,
    free_port,
    reserved_ports,
    wait_until,
)
from bench.report.targets import DIRECT, HAPROXY
from bench.scenarios.backends import own_state, start_iperf3
from bench.scenarios.contenders import Contender
from bench.scenarios.dialects.wiring import DEFAULT_POOL, Files, Secrets, Wiring
from bench.scenarios.variants import VARIANTS


class Backends(NamedTuple):
    """The services that the routes of one round share."""

    ports: Ports  # ports of the services behind the routes
    secrets: Secrets
    pool: int = DEFAULT_POOL


Hops = tuple[Program, Program]  # the server's side and the client's side

HAPROXY_CONFIG = """\
global
    nbthread 1
    maxconn 7000
defaults
    mode tcp
    maxconn 7000
    backlog 4096
    timeout connect 10s
    timeout client 1h
    timeout server 1h
"""


def start_direct(programs: Programs, backends: Backends) -> Route:
    """Use no hop at all, which shows the limits of the machine itself."""
    return Route(DIRECT, {**backends.ports, "iperf": start_iperf3(programs)}, (), ("streams", "datagrams"))


def start_haproxy(programs: Programs, backends: Backends) -> Route:
    """Start two HAProxy processes in TCP mode, with one thread each."""
    targets = {**backends.ports, "iperf": start_iperf3(programs)}
    inner, inner_ports = _haproxy(programs, "haproxy-inner", targets)
    outer, outer_ports = _haproxy(programs, "haproxy-outer", inner_ports)
    wait_until(lambda: echoes(outer_ports["echo"]), "HAProxy", inner, outer)
    return Route(HAPROXY, outer_ports, (outer, inner), ("streams",))


def _haproxy(programs: Programs, name: str, targets: Ports) -> tuple[Program, Ports]:
    ports = {service: free_port() for service in targets}
    config = HAPROXY_CONFIG + "".join(
        f"listen {service}\n    bind {LOOPBACK}:{ports[service]}\n    server one {LOOPBACK}:{target}\n"
        for service, target in targets.items()
    )
    path = programs.file(f"{name}.cfg", config)
    return programs.start("haproxy", [find_tool("haproxy"), "-db", "-f", str(path)]), ports


def route_name(contender: Contender, variant: str, label: str) -> str:
    """Return ``program/variant``, or ``program label/variant`` for a mode that is not the nearest."""
    return f"{contender.name} {label}".rstrip() + f"/{variant}"


def start_tunnel(programs: Programs, contender: Contender, variant: str, label: str, backends: Backends) -> Route:
    """Start the server and the client of one mode, and wait until they carry users.

    Raises BenchError if the tunnel does not come up.
    """
    name, settings = route_name(contender, variant, label), VARIANTS[variant]
    targets = {**backends.ports, "iperf": start_iperf3(programs)}
    with reserved_ports(1 + len(targets)) as (bind, *users):
        ports = dict(zip(targets, users, strict=True))
        wiring = Wiring(bind, ports, targets, settings.protocol, backends.secrets, backends.pool)
        hops = _start_ends(programs, contender, name, contender.modes(variant)[label](wiring), wiring)
    return Route(name, ports, hops, (settings.load,))


def _start_ends(programs: Programs, contender: Contender, name: str, files: Files, wiring: Wiring) -> Hops:
    stem = name.replace("/", "-").replace(" ", "-")
    server_file = programs.file(f"{stem}-server.toml", files.server)
    client_file = programs.file(f"{stem}-client.toml", files.client)
    environment = {**contender.environment, **own_state(programs, stem)}
    server = programs.start("server", [*contender.server, str(server_file)], environment)
    # v0.7.2's client waits 3 s after a refused dial.
    wait_until(lambda: accepts(wiring.bind), "server", server)
    client = programs.start("client", [*contender.client, str(client_file)], environment)
    wait_until(lambda: _is_up(wiring), "the tunnel", server, client)
    return server, client


def _is_up(wiring: Wiring) -> bool:
    if wiring.protocol == "udp":
        return answers_datagram(wiring.ports["echo"])
    return listening_ports().issuperset(wiring.ports.values()) and echoes(wiring.ports["echo"])
