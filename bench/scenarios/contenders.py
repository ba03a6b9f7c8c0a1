"""The programs that are compared: this one, and peers given as ``NAME=PATH``."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.processes import BenchError
from bench.report.targets import DIRECT, HAPROXY, OURS
from bench.scenarios.backends import python_environment
from bench.scenarios.dialects import backhaul, frp, rathole
from bench.scenarios.dialects.wiring import Modes

PEER = re.compile(r"(?:([\w.-]+)=)?(.+)")
UNNAMED = "peer"
VERSION_TIMEOUT = 10  # seconds
UNKNOWN = "unknown version"


class Contender(NamedTuple):
    """A program that can carry the tunnel."""

    name: str
    server: list[str]  # command line; the path of the configuration file is appended
    client: list[str]
    modes: Callable[[str], Modes]  # of a variant; empty if the program has nothing like it
    version: str
    environment: Mapping[str, str]


def ours() -> Contender:
    """Return this project's program."""
    command = [sys.executable, "-m", "backhaul", "-c"]
    return Contender(OURS, command, command, backhaul.modes, "", python_environment())


def find_peers(options: list[str]) -> list[Contender]:
    """Return the peers; raise BenchError that names the wrong option."""
    peers: dict[str, Contender] = {}
    for option in options:
        peer = _peer(option)
        if peer.name in {OURS, HAPROXY, DIRECT, *peers}:
            raise BenchError(f"--peer {option}: the name {peer.name} is taken; choose another one")
        peers[peer.name] = peer
    return list(peers.values())


def _peer(option: str) -> Contender:
    match = PEER.fullmatch(option)
    name, path = match.groups() if match else (None, "")
    name = name or UNNAMED
    # Several builds of one program, such as rathole-0.4=PATH rathole-0.5=PATH
    start = {"rathole": _rathole, "frp": _frp}.get(name.partition("-")[0], _backhaul)
    try:
        return start(name, Path(path).resolve())
    except BenchError as error:
        raise BenchError(f"--peer {option}: {error}") from None


def _backhaul(name: str, path: Path) -> Contender:
    command = [_program(path), "-c"]
    return Contender(name, command, command, backhaul.modes, _version(path, "-v"), _environment())


def _rathole(name: str, path: Path) -> Contender:
    command = [_program(path)]
    return Contender(name, command, command, rathole.modes, _version(path, "-V"), _environment())


def _frp(name: str, folder: Path) -> Contender:
    server, client = ([_program(folder / end, "the folder that holds frps and frpc"), "-c"] for end in ("frps", "frpc"))
    return Contender(name, server, client, frp.modes, _version(folder / "frps", "--version"), _environment())


def _environment() -> Mapping[str, str]:
    return {**os.environ, "RUST_LOG": "warn"}  # without this rathole logs every connection


def _program(path: Path, wanted: str = "the path of a program") -> str:
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise BenchError(f"{path.name} is not an executable file; give {wanted}")
    return str(path)


def _version(path: Path, option: str) -> str:
    try:
        done = subprocess.run(
            [str(path), option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=VERSION_TIMEOUT, env=_environment(),
        )  # fmt: skip
    except OSError as error:
        raise BenchError(f"{path.name} cannot be run: {error.strerror}; give the path of a program") from None
    except subprocess.TimeoutExpired:
        return UNKNOWN
    found = re.search(r"v?\d+\.\d[\w.+~-]*", done.stdout)
    return found[0] if found else UNKNOWN
