"""Start helper programs in a temporary directory, wait for their ports, stop them by process id."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 15.0  # seconds; a Python program with TLS on a busy two-core machine needs about one
STOP_TIMEOUT = 5.0
# Below Linux's default ephemeral range (32768-60999), so that no outgoing connection takes a chosen port. Even ones:
# tests take odd ones, which those beside a test of the benchmark may have chosen and not opened yet.
PORTS = range(20_000, 32_000, 2)

DEBIAN_PACKAGE = {
    "haproxy": "haproxy",
    "iperf3": "iperf3",
    "nginx": "nginx-light",
    "ab": "apache2-utils",
    "openssl": "openssl",
    "strace": "strace",
    "ip": "iproute2",
    "ss": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "sysctl": "procps",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "unshare": "util-linux",
}


class BenchError(Exception):
    """A measurement failed; the text is one line for the terminal."""


def find_tool(name: str) -> str:
    """Return the path of a program; raise BenchError with the command that installs it."""
    # Debian keeps daemons in /usr/sbin, which is not in every user's PATH.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError(f"install {name}: apt-get install {DEBIAN_PACKAGE[name]}")
    return path


def free_port() -> int:
    """Return a port that is free for both TCP and UDP on 127.0.0.1 at this moment."""
    with reserved_ports(1) as [port]:
        return port


@contextlib.contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Choose different ports that are free for both TCP and UDP on 127.0.0.1, and keep outgoing connections off them.

    A server can listen there, as all of them set SO_REUSEADDR: no program listens on the sockets that are held.
    """
    candidates = random.sample(PORTS, len(PORTS))
    with contextlib.ExitStack() as held:
        ports = list(islice((port for port in candidates if _reserve(held, port)), count))
        if len(ports) < count:
            raise BenchError(f"fewer than {count} free ports between {PORTS.start} and {PORTS.stop}")
        yield ports


def _reserve(held: contextlib.ExitStack, port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        # Without this, connections of an earlier round in TIME_WAIT would make a usable port look taken.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            tcp.bind((LOOPBACK, port))
            udp.bind((LOOPBACK, port))
            held.enter_context(socket.socket(fileno=tcp.detach()))
            return True
    return False


class Program:
    """A started process with its log file, owned by the Programs that started it."""

    def __init__(self, name: str, argv: list[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
            )

    @property
    def pid(self) -> int:
        """The process id of the program."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise BenchError with the last lines of the log if the program has ended."""
        if self._process.poll() is None:
            return
        lines = self._log.read_text(errors="replace").strip().splitlines()
        raise BenchError(f"{self.name} ended at start: {lines[-1] if lines else 'no message'}")

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End the process: first with a request, then by force."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Programs:
    """The programs of one round, which are all stopped when the context ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> Program:
        """Start a program; its output goes to a file in the directory."""
        self._started += 1
        program = Program(name, argv, self.directory / f"{self._started}.log", env)
        self._stack.callback(program.stop)
        return program

    def file(self, name: str, text: str) -> Path:
        """Write a configuration file into the directory."""
        path = self.directory / name
        path.write_text(text)
        return path


@contextlib.contextmanager
def temporary_programs() -> Iterator[Programs]:
    """Provide programs with a directory of their own, which is removed after them."""
    with TemporaryDirectory(prefix="bench-") as directory, Programs(Path(directory)) as programs:
        yield programs


def wait_until(ready: Callable[[], bool], what: str, *programs: Program, timeout: float = START_TIMEOUT) -> None:
    """Poll until ready; raise BenchError when a program ends or after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        for program in programs:
            program.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(f"{what} does not answer within {timeout:.0f} s")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    """Return whether the TCP port accepts connections."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def connect(port: int) -> Iterator[socket.socket]:
    """Open a blocking connection without Nagle's delay; each operation may take 10 s."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def echoes(port: int) -> bool:
    """Return whether one byte sent to the TCP port comes back within a second."""
    with contextlib.suppress(OSError), connect(port) as sock:
        sock.settimeout(1)
        sock.sendall(b"?")
        return sock.recv(1) == b"?"
    return False


def answers_datagram(port: int) -> bool:
    """Return whether a datagram sent to the UDP port is answered within half a second."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(0.5)
        sock.connect((LOOPBACK, port))
        sock.send(b"?")
        return bool(sock.recv(64))
    return False


def run_tool(name: str, *arguments: str, timeout: float) -> str:
    """Run a command line tool to its end and return its output; raise BenchError with its error message."""
    try:
        done = subprocess.run(
            [find_tool(name), *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} got no answer within {timeout:.0f} s") from None
    if done.returncode != 0:
        raise BenchError(f"{name} failed: {_complaint(done.stderr or done.stdout)}")
    return done.stdout


def _complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # iperf3 -J puts its error message into its JSON.
    return next((line for line in lines if "error" in line), lines[-1] if lines else "no message")
