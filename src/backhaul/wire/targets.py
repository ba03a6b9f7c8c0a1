"""Targets as named on the wire: ``5201``, ``host:5201``, ``[::1]:5201`` and, as an extension, ``unix:/path``."""

import functools
import posixpath
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from backhaul.errors import BackhaulError

UDP_PREFIX = "udp/"  # extension: before the target of datagrams, on transports where v0.7.2 has no UDP
UNIX_PREFIX = "unix:"  # extension: before the path of a Unix socket
_PATH = f"{UNIX_PREFIX}/"
MAX_PATH = 107  # bytes: sockaddr_un has 108 (unix(7)), one of them for the NUL at the end
LOOPBACK = "127.0.0.1"  # the host where none is given: v0.7.2 dials 0.0.0.0 then, which Linux takes for this one
MAX_TARGET = 512  # bytes; a DNS name has at most 253 (RFC 1035 section 2.3.4)
MAX_PORT = 65535


class Target(NamedTuple):
    """The destination of a user's bytes: host and port, or the path of a Unix socket and port 0."""

    host: str
    port: int


class BadTargetError(BackhaulError):
    """The text does not name a target."""


@functools.lru_cache(maxsize=1024)  # most users have the same few targets
def parse_target(text: str) -> Target:
    """Return the target that ``text`` names; raises BadTargetError."""
    if text.startswith(_PATH):
        return Target(_parse_path(text.removeprefix(UNIX_PREFIX)), 0)
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < _number(port) <= MAX_PORT:
        raise BadTargetError(f"target {text!r}: no valid port")
    if not host.isprintable() or " " in host:
        # In C a NUL ends a name, and resolvers drop or map other invisible characters. The client would dial another
        # target than the one that was checked and logged.
        raise BadTargetError(f"target {text!r}: it holds spaces or control characters")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise BadTargetError(f"target {text!r}: an IPv6 address needs brackets")
    return Target(host or LOOPBACK, _number(port))


def names_path(text: str) -> bool:
    """Return whether this names a Unix socket, even in a wrong way; ``unix:80`` is a port of the host unix."""
    return text.startswith(UNIX_PREFIX) and not text.removeprefix(UNIX_PREFIX)[:1].isdigit()


def path_problem(path: str) -> str:
    """Return the mistake in the path of a Unix socket, empty if there is none."""
    if not path.startswith("/"):
        return "the path of a Unix socket is absolute, such as unix:/run/app.sock"
    if len(path.encode(errors="replace")) > MAX_PATH:
        return f"the path of a Unix socket has at most {MAX_PATH} bytes"
    if path != posixpath.normpath(path) or path.startswith("//") or path == "/":
        return "the path of a Unix socket is written without `.`, `..`, double slashes and a slash at the end"
    return "" if path.isprintable() else "no control characters may be in the path of a Unix socket"


def _parse_path(path: str) -> str:
    if problem := path_problem(path):
        raise BadTargetError(f"target {UNIX_PREFIX + path!r}: {problem}")
    return path


def parse_ip(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that ``host`` spells, None for a name.

    Only an IPv6 address may name an interface (``%eth0``).
    """
    try:
        return ip_address(host)
    except ValueError:
        return None


def _number(digits: str) -> int:
    """Return the number, or a large one for endless digits, which int() refuses."""
    return int(digits.lstrip("0")[:6] or "0")
