"""Targets as they are named on the wire: `5201`, `host:5201`, `[::1]:5201`."""

import functools
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

UDP_PREFIX = "udp/"  # ours: before a target that is reached by datagrams, on transports where v0.7.2 has no UDP
LOOPBACK = "127.0.0.1"  # where v0.7.2 looks for a target that is only a port
MAX_TARGET = 512  # bytes: a DNS name has at most 253 (RFC 1035 section 2.3.4), the rest is room
_MAX_PORT = 65535


class Target(NamedTuple):
    """Where a user's bytes go."""

    host: str
    port: int


class BadTargetError(ValueError):
    """The text does not name a target."""


@functools.lru_cache(maxsize=1024)  # users come for the same few targets
def parse_target(text: str) -> Target:
    """Return the target that `text` names; raises BadTargetError."""
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


def parse_ip(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that `host` spells, None for a name. Only an IPv6 address may name an interface (`%eth0`)."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _number(digits: str) -> int:
    """Return the number, or a large one for endless digits, which int() refuses."""
    return int(digits.lstrip("0")[:6] or "0")
