"""A tunnel across the network, with nginx in front of its server if it travels by HTTP."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.machine import memory_bytes
from bench.processes import LOOPBACK, BenchError, Program, Programs, wait_until
from bench.report.targets import OURS
from bench.scenarios.backends import make_secrets, nginx_command, own_state, python_environment
from bench.scenarios.contenders import Contender
from bench.scenarios.dialects.wiring import Files, Wiring
from bench.survive.network import CLIENT, SERVER, SERVER_ADDRESS, Network
from bench.survive.ssh import sshd_command

BIND = 4000  # the namespaces are new, so all ports are free
SERVICES = ("echo", "download", "upload")
SSH = "ssh"
USERS = {service: 5000 + number for number, service in enumerate((*SERVICES, SSH))}
TARGETS = {service: 6000 + number for number, service in enumerate((*SERVICES, SSH))}

WORKER_TIMEOUT = 1  # seconds

PROXY = """\
    server {{
        listen {address}:{port}{tls};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            proxy_pass {scheme}://{loopback}:{port};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            proxy_read_timeout 1h;
            proxy_buffering off;
        }}
    }}
"""


class Tunnel:
    """Both ends of one program, and the targets; ``verbose`` ends of this program log at level debug."""

    def __init__(
        self, network: Network, programs: Programs, contender: Contender, variant: str, *, verbose: bool
    ) -> None:
        self._network, self._programs = network, programs
        self._secrets = make_secrets(programs.directory)
        self._ours, self._verbose = contender.name == OURS, verbose
        by_http = variant.startswith("ws")
        files = self._write(contender, variant, listen=LOOPBACK if by_http else SERVER_ADDRESS)
        self._nginx = [self._start_nginx(variant)] if by_http else []
        self._start_targets()
        environment = {**contender.environment, **own_state(programs, "tunnel")}
        self._files = {
            end: programs.file(f"{end}.toml", text) for end, text in zip((SERVER, CLIENT), files, strict=True)
        }
        commands = {SERVER: contender.server, CLIENT: contender.client}
        self._ends: dict[str, Program] = {}
        for end in (SERVER, CLIENT):  # a client whose first dial is refused waits for some seconds
            self._ends[end] = self._start(end, end, [*commands[end], str(self._files[end])], environment)
            wait_until(lambda: network.listens(SERVER, BIND), "the server", *self._ends.values())

    def _write(self, contender: Contender, variant: str, *, listen: str) -> Files:
        modes = contender.modes(variant)
        if "" not in modes:
            raise BenchError(f"{contender.name} has nothing like {variant}; choose another --transport for it")
        wiring = Wiring(BIND, USERS, TARGETS, "tcp", self._secrets, listen=listen, host=SERVER_ADDRESS)
        files = modes[""](wiring)
        return Files(*(_resuming(text, verbose=self._verbose) for text in files)) if self._ours else files

    def _start(self, end: str, name: str, argv: list[str], environment: dict[str, str]) -> Program:
        return self._programs.start(name, self._network.inside(end, argv), environment)

    def _start_targets(self) -> None:
        argv = [sys.executable, "-m", "bench.survive.services", *(str(TARGETS[service]) for service in SERVICES)]
        self._start(CLIENT, "targets", argv, python_environment())
        sshd = self._start(
            CLIENT, "sshd", sshd_command(self._programs.directory / SSH, TARGETS[SSH]), python_environment()
        )
        wait_until(lambda: self._network.listens(CLIENT, TARGETS[SSH]), "sshd", sshd)

    def _start_nginx(self, variant: str) -> Program:
        tls = variant.startswith("wss")
        proxy = PROXY.format(
            address=SERVER_ADDRESS, port=BIND, loopback=LOOPBACK,
            tls=" ssl" if tls else "", scheme="https" if tls else "http",
            certificate=self._secrets.certificate, key=self._secrets.key,
        )  # fmt: skip
        # Without worker_shutdown_timeout a reload leaves connections to the old worker.
        argv = nginx_command(self._programs, f"worker_shutdown_timeout {WORKER_TIMEOUT}s;", proxy)
        return self._start(SERVER, "nginx", argv, python_environment())

    def start_users(self, seconds: float, folder: Path) -> Program:
        """Start the users."""
        argv = [sys.executable, "-m", "bench.survive.crowd", *map(str, USERS.values()), str(seconds), str(folder)]
        return self._start(SERVER, "users", argv, python_environment())

    def reload_nginx(self, _network: Network) -> None:
        """Let nginx replace its worker, and wait until the old one closes its connections."""
        for nginx in self._nginx:
            nginx.signal(signal.SIGHUP)
        time.sleep(WORKER_TIMEOUT)

    def memory(self) -> dict[str, int]:
        """Return the bytes of memory of each end."""
        for end in self._ends.values():
            end.check_alive()
        return {end: memory_bytes(program.pid) for end, program in self._ends.items()}

    def status(self) -> dict[str, dict[str, object]]:
        """Return the status of each end of this program; nothing for other programs."""
        return {end: _status(file) for end, file in self._files.items()} if self._ours else {}


def _resuming(text: str, *, verbose: bool) -> str:
    return (
        text.replace('log_level = "warn"', f'log_level = "{"debug" if verbose else "warn"}"') + "resume_timeout = 60\n"
    )


def _status(file: Path) -> dict[str, object]:
    argv = [sys.executable, "-m", "backhaul", "status", "--json", "-c", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=python_environment(), timeout=10)
    documents = json.loads(done.stdout or "[]")
    return dict(documents[0]) if documents else {}
