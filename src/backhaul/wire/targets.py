"""Targets as they are named on the wire: `5201`, `host:5201`, `[::1]:5201`, and between two of ours `unix:/path`."""

import functools
import posixpath
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from backhaul.errors import BackhaulError

UDP_PREFIX = "udp/"  # ours: before a target that is reached by datagrams, on transports where v0.7.2 has no UDP
UNIX_PREFIX = "unix:"  # ours: before the path of a Unix socket
_PATH = f"{UNIX_PREFIX}/"
MAX_PATH = 107  # bytes: sockaddr_un has 108 (unix(7)), one of them for the zero at the end
LOOPBACK = "127.0.0.1"  # where v0.7.2 looks for a target that is only a port
MAX_TARGET = 512  # bytes: a DNS name has at most 253 (RFC 1035 section 2.3.4), the rest is room
_MAX_PORT = 65535


class Target(NamedTuple):
    """Where a user's bytes go: host and port, or the path of a Unix socket and port 0, which no TCP target has."""

    host: str
    port: int


class BadTargetError(BackhaulError):
    """The text does not name a target."""


@functools.lru_cache(maxsize=1024)  # users come for the same few targets
def parse_target(text: str) -> Target:
    """Return the target that `text` names; raises BadTargetError."""
    if text.startswith(_PATH):
        return Target(_parse_path(text.removeprefix(UNIX_PREFIX)), 0)
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < _number(port) <= _MAX_PORT:
        raise BadTargetError(f"no valid port in target {text!r}")
    if not host.isprintable() or " " in host:
        # C takes a NUL for the end of a name, and resolvers drop or map other invisible characters: what is dialled
        # would not be what has been read.
        raise BadTargetError(f"no spaces or control characters may be in target {text!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadTargetError(f"an IPv6 address needs brackets in target {text!r}")
    return Target(host or LOOPBACK, _number(port))


def names_path(text: str) -> bool:
    """Whether this names a Unix socket, right or wrong; `unix:80` is a port of a host called unix."""
    return text.startswith(UNIX_PREFIX) and not text.removeprefix(UNIX_PREFIX)[:1].isdigit()


def path_problem(path: str) -> str:
    """Return what is wrong with the path of a Unix socket; empty: nothing."""
    if not path.startswith("/"):
        return "the path of a Unix socket is absolute, such as unix:/run/app.sock"
    if len(path.encode(errors="replace")) > MAX_PATH:
        return f"the path of a Unix socket has at most {MAX_PATH} bytes"
    if path != posixpath.normpath(path) or path.startswith("//") or path == "/":
        return "the path of a Unix socket is written without `.`, `..`, double slashes and a slash at the end"
    return "" if path.isprintable() else "no control characters may be in the path of a Unix socket"


def _parse_path(path: str) -> str:
    if problem := path_problem(path):
        raise BadTargetError(f"{problem}, in target {UNIX_PREFIX + path!r}")
    return path


def parse_ip(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `host` spells, None for a name. Only an IPv6 address may name an interface (`%eth0`)."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _number(digits: str) -> int:
    """Return the number, or a large one for endless digits, which int() refuses."""
    return int(digits.lstrip("0")[:6] or "0")
