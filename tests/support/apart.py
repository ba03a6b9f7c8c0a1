"""Scripts of the tests, run in a network of their own."""

import os
import subprocess
import sys


def separable() -> bool:
    """Whether networks and mounts can be had that nothing else on this machine sees."""
    trial = ["unshare", "--net", "--mount", "sh", "-c", "ip link set lo up && mount --bind /dev/null /etc/resolv.conf"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_apart(module: str, *preparations: str) -> tuple[str, str]:
    """Run a module of tests.support after some commands; return what it has printed, and its complaints."""
    program = f"exec {sys.executable} -u -m tests.support.{module}"
    inside = " && ".join(("ip link set lo up", *preparations, program))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["unshare", "--net", "--mount", "sh", "-c", inside]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.stdout, done.stderr
