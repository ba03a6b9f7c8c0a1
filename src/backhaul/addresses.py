"""Addresses of peers for logs, limits and lists."""

import ipaddress
from typing import Final

_PORT_DIGITS: Final = 5
_MAPPED: Final = "::ffff:"  # RFC 4291, 2.5.5.2; with no IPv4 address after it, it begins one of ::ffff:0:0:0/96
LOCAL: Final = "(local)"
"""The address of peers on Unix sockets, which have none."""


def plain_ip(address: tuple[str, ...] | tuple[str, int]) -> str:
    """Return the numeric address of a peer; IPv4 peers of a dual-stack socket as plain IPv4."""
    host = address[0].partition("%")[0]
    return host.removeprefix(_MAPPED) if "." in host else host


def address_text(host: str, port: int) -> str:
    """Return address and port of a peer, as far as they are known."""
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def port_name(bind: str, port: int) -> str:
    """Return address and number of a local port, or the path of a Unix socket."""
    return f"unix:{bind}" if bind.startswith("/") else address_text(bind or "*", port)


def parse_user(text: str) -> tuple[str, int]:
    """Read the address of a user, with or without the port; raise ValueError."""
    host, port = text, "0"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "0"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS):
        raise ValueError("a port is a number")
    return host if host == LOCAL else str(ipaddress.ip_address(host)), int(port)
