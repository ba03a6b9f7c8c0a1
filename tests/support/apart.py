"""Networks apart from the machine's, for scripts of the tests and for sockets of a test itself."""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000  # <linux/sched.h>


def separable() -> bool:
    """Return whether this process may create networks and mounts that nothing else on the machine sees."""
    trial = ["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up && mount --bind /dev/null /etc/resolv.conf"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_apart(module: str, *preparations: str) -> tuple[str, str]:
    """Run a module of tests.support after some commands; return its output and its errors."""
    program = f"exec {sys.executable} -u -m tests.support.{module}"
    inside = " && ".join(("ip link set lo up", *preparations, program))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["unshare", "--net", "--mount", "sh", "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout, done.stderr


class Namespace:
    """A network namespace that exists as long as this object is open."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(["unshare", "--net", "sleep", "60"])
        self.path = f"/proc/{self._keeper.pid}/ns/net"
        self.pid = self._keeper.pid

    @property
    def ready(self) -> bool:
        """True if the namespace differs from that of this process."""
        return Path(self.path).readlink() != Path("/proc/self/ns/net").readlink()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread open sockets in the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/proc/thread-self/ns/net").open() as home, Path(self.path).open() as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0

    def run(self, command: str) -> None:
        """Run a command inside."""
        subprocess.run(["nsenter", f"--net={self.path}", *command.split()], check=True, capture_output=True)

    def close(self) -> None:
        """Close the namespace with everything in it."""
        self._keeper.terminate()
        self._keeper.wait()
