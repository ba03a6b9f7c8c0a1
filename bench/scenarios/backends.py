"""The services behind the tunnels: nginx for new connections, iperf3 for bulk, an echo server."""

import base64
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bench.processes import (
    Programs,
    accepts,
    answers_datagram,
    echoes,
    find_tool,
    free_port,
    run_tool,
    wait_until,
)
from bench.scenarios.dialects.wiring import PKCS12_PASSWORD, Secrets

REPOSITORY = Path(__file__).parents[2]

NGINX_CONFIG = """\
daemon off;
worker_processes 1;
{main}
pid {directory}/nginx.pid;
error_log {directory}/nginx.error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
{http}
}}
"""

TINY_PAGE = """\
    keepalive_timeout 0;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "ok"; }}
    }}
"""


def python_environment() -> dict[str, str]:
    """Return an environment in which a child finds this package and the program under test."""
    return {**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"}


def own_state(programs: Programs, name: str) -> dict[str, str]:
    """Return the environment of a tunnel that leaves the machine's memory of protected servers alone.

    It holds for 127.0.0.1:PORT, and a later run may use that port for a program without protection.
    """
    return {"STATE_DIRECTORY": str(programs.directory / f"{name}-state")}


def nginx_command(programs: Programs, main: str, http: str) -> list[str]:
    """Write the configuration of a web server, with more lines for two parts of it; return the command line."""
    text = NGINX_CONFIG.format(directory=programs.directory, main=main, http=http)
    return [find_tool("nginx"), "-c", str(programs.file("nginx.conf", text)), "-e", "stderr"]


def start_nginx(programs: Programs) -> int:
    """Start a web server with one tiny page and without keep-alive; return its port."""
    port = free_port()
    nginx = programs.start("nginx", nginx_command(programs, "master_process off;", TINY_PAGE.format(port=port)))
    wait_until(lambda: accepts(port), "nginx", nginx)
    return port


def start_iperf3(programs: Programs) -> int:
    """Start an iperf3 server for one route, because it serves one test at a time; return its port."""
    port = free_port()
    server = programs.start("iperf3", [find_tool("iperf3"), "-s", "-B", "127.0.0.1", "-p", str(port)])
    wait_until(lambda: accepts(port), "iperf3", server)
    return port


def start_service(programs: Programs, kind: str, ready: Callable[[int], bool]) -> int:
    """Start one of bench.loads.services; return its port."""
    port = free_port()
    argv = [sys.executable, "-m", "bench.loads.services", kind, str(port)]
    service = programs.start(f"{kind} service", argv, python_environment())
    wait_until(lambda: ready(port), f"{kind} service", service)
    return port


def start_services(programs: Programs) -> dict[str, int]:
    """Start the services that all routes of a round share; return service -> port."""
    return {
        "http": start_nginx(programs),
        "echo": start_service(programs, "echo", echoes),
        "sink": start_service(programs, "sink", answers_datagram),
        "source": start_service(programs, "source", accepts),
    }


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Return (certificate, key): self-signed, RSA-2048, for the transports over TLS."""
    certificate, key = directory / "server.crt", directory / "server.key"
    run_tool(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
        "-keyout", str(key), "-out", str(certificate), timeout=30,
    )  # fmt: skip
    return certificate, key


def make_secrets(directory: Path) -> Secrets:
    """Make the certificate and the keys of one round."""
    certificate, key = make_certificate(directory)
    pkcs12, noise_key = directory / "server.pfx", directory / "noise.key"
    run_tool(
        "openssl", "pkcs12", "-export", "-passout", f"pass:{PKCS12_PASSWORD}",
        "-inkey", str(key), "-in", str(certificate), "-out", str(pkcs12), timeout=30,
    )  # fmt: skip
    run_tool("openssl", "genpkey", "-algorithm", "X25519", "-out", str(noise_key), timeout=30)
    public = run_tool("openssl", "pkey", "-pubout", "-in", str(noise_key), timeout=30)
    return Secrets(certificate, key, pkcs12, _raw_key(noise_key.read_text()), _raw_key(public))


def _raw_key(pem: str) -> str:
    # RFC 8410: both encodings of an X25519 key end with its 32 bytes.
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return base64.b64encode(der[-32:]).decode()
