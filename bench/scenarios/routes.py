"""The ways from a user to a backend that are compared: direct, two HAProxy hops, a tunnel."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.loads.route import Ports, Route
from bench.processes import (
    LOOPBACK,
    Program,
    Programs,
    accepts,
    answers_datagram,
    echoes,
    find_tool,
    free_port,
    wait_until,
)
from bench.report.targets import DIRECT, HAPROXY
from bench.scenarios.backends import python_environment, start_iperf3


class Backends(NamedTuple):
    """What the routes of one round share."""

    ports: Ports  # of the services behind the routes
    tls: tuple[Path, Path]  # certificate and key for the transports over TLS


class Settings(NamedTuple):
    """A transport's name in the configuration file, and what else its section says."""

    transport: str
    load: str = "streams"
    extra: Mapping[str, object] = {}


VARIANTS = {
    "tcp": Settings("tcp"),
    "tcpmux": Settings("tcpmux"),
    "ws": Settings("ws"),
    "wss": Settings("wss"),
    "wsmux": Settings("wsmux"),
    "wssmux": Settings("wssmux"),
    "tcp+sniffer": Settings("tcp", "bulk", {"sniffer": True}),
    "udp": Settings("udp", "datagrams"),
    "tcp+udp": Settings("tcp", "datagrams", {"accept_udp": True}),
    "tcpmux+udp": Settings("tcpmux", "datagrams", {"accept_udp": True}),
    "tcpmux v1": Settings("tcpmux", "stall", {"mux_version": 1}),
    "tcpmux v2": Settings("tcpmux", "stall", {"mux_version": 2}),
    "wsmux v1": Settings("wsmux", "stall", {"mux_version": 1}),
    "wsmux v2": Settings("wsmux", "stall", {"mux_version": 2}),
    "wssmux v1": Settings("wssmux", "stall", {"mux_version": 1}),
    "wssmux v2": Settings("wssmux", "stall", {"mux_version": 2}),
}

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
    """No hop at all: what the machine itself can do."""
    return Route(DIRECT, {**backends.ports, "iperf": start_iperf3(programs)}, (), ("streams", "datagrams"))


def start_haproxy(programs: Programs, backends: Backends) -> Route:
    """Two HAProxy processes in TCP mode, one thread each."""
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


def program_under_test(peer: Path | None) -> list[str]:
    """Command line of the peer program, or of this project's own when there is none."""
    return [str(peer)] if peer else [sys.executable, "-m", "backhaul"]


def start_tunnel(programs: Programs, name: str, command: list[str], settings: Settings, backends: Backends) -> Route:
    """Start a server and a client that read the same configuration, ours or a peer's; wait until they carry.

    The route's name is ``program/variant``. Raises BenchError if the tunnel does not come up.
    """
    targets = {**backends.ports, "iperf": start_iperf3(programs)}
    ports = {service: free_port() for service in targets}
    tunnel_port = free_port()
    stem = name.replace("/", "-").replace(" ", "-")
    env = python_environment()
    server_file = programs.file(
        f"{stem}-server.toml", _server_toml(tunnel_port, settings, ports, targets, backends.tls)
    )
    client_file = programs.file(f"{stem}-client.toml", _client_toml(tunnel_port, settings, programs.directory))
    server = programs.start("server", [*command, "-c", str(server_file)], env)
    # v0.7.2's client waits 3 s after a refused dial.
    wait_until(lambda: accepts(tunnel_port), "server", server)
    client = programs.start("client", [*command, "-c", str(client_file)], env)
    probe = answers_datagram if settings.load == "datagrams" else echoes
    wait_until(lambda: probe(ports["echo"]), "the tunnel", server, client)
    return Route(name, ports, (server, client), (settings.load,))


def _server_toml(tunnel_port: int, settings: Settings, ports: Ports, targets: Ports, tls: tuple[Path, Path]) -> str:
    mappings = [f"{LOOPBACK}:{ports[s]}={LOOPBACK}:{targets[s]}" for s in targets]
    certificate, key = tls
    return _section(
        "server",
        bind_addr=f"{LOOPBACK}:{tunnel_port}",
        channel_size=8192,  # 3 000 idle users and 500 at once must not be refused for want of a queue slot
        tls_cert=str(certificate),
        tls_key=str(key),
        sniffer_log=str(certificate.with_name("usage-server.json")),  # beside the other files of this round
        heartbeat=40,
        ports=mappings,
        **_common(settings),
    )


def _client_toml(tunnel_port: int, settings: Settings, directory: Path) -> str:
    common = _common(settings)
    common.pop("accept_udp", None)  # a key of the server alone
    log = str(directory / "usage-client.json")
    return _section("client", remote_addr=f"{LOOPBACK}:{tunnel_port}", sniffer_log=log, **common)


def _common(settings: Settings) -> dict[str, object]:
    # skip_optz: a benchmark must not change the sysctls of the machine it runs on.
    common = {"transport": settings.transport, "token": "bench", "nodelay": True, "skip_optz": True}
    return {**common, "log_level": "warn", **settings.extra}


def _section(name: str, **values: object) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: object) -> str:
    # JSON's strings, numbers, booleans and arrays of them are valid TOML.
    return json.dumps(value)
